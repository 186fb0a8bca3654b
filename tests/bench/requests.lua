-- wrk: 512 different requests, made before the run, so that the load costs little and no two in a row are alike.
local requests, at = {}, 0

function init(arguments)
  local authority, path = arguments[1], arguments[2]
  for i = 1, 512 do
    local version = 100 + i % 40
    requests[i] = wrk.format("GET", path .. "?user=" .. i * 7919 .. "&page=" .. i % 17, {
      ["Host"] = authority,
      ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:" .. version .. ".0) Gecko/20100101 Firefox/" .. version .. ".0",
      ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
      ["Accept-Language"] = "en-US,en;q=0." .. i % 9 + 1,
      ["Accept-Encoding"] = "gzip, deflate, br",
      ["Cookie"] = "session=" .. string.format("%032x", i * 104729) .. "; theme=dark",
    })
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end
