// The few things that only the browser can do: its time zone, its size, whether anyone looks. What data ends up in a
// page is set as text (textContent), never as markup.
(() => {
  const two = (n) => String(n).padStart(2, "0");

  /** Seconds since the epoch as local `14:03:22.123`, with the date unless it is today. */
  function moment(seconds) {
    if (typeof seconds !== "number") return "";
    const at = new Date(seconds * 1000);
    const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
    const text = `${time}.${String(at.getMilliseconds()).padStart(3, "0")}`;
    if (at.toDateString() === new Date().toDateString()) return text;
    return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${text}`;
  }

  function span(text, className) {
    const element = document.createElement("span");
    element.textContent = text ?? "";
    element.className = className;
    return element;
  }

  function link(href, text) {
    const element = document.createElement("a");
    element.href = href;
    element.textContent = text;
    element.addEventListener("click", (event) => event.stopPropagation());
    return element;
  }

  /** Cells of the grids: functions of AG Grid's parameters that return an element. */
  const cell = {
    moment: (p) => span(moment(p.value), "mono"),
    traceLink: (p) => (p.value ? link("/traces/" + encodeURIComponent(p.value), p.value.slice(0, 8) + "…") : span("", "")),
    severity: (p) => span(p.value, "tag sev-" + (/^(error|warning|info|debug)$/.test(p.value) ? p.value : "other")),
    errors: (p) => span(p.data.errors_text, "health-" + p.data.health),
    outcome: (p) => span(p.value ? "error" : "ok", p.value ? "tag bad" : "tag ok"),
    mtls: (p) => span(p.value, p.value === "mutual TLS" ? "mtls yes" : p.value === "–" ? "" : "mtls no"),
    state: (p) => span(p.value, "tag state-" + (/^(synced|stale|rejected|disconnected)$/.test(p.value) ? p.value : "other")),
    duration: (p) => {
      const box = span("", "duration-cell");
      const bar = span("", "duration-bar");
      bar.style.width = Math.round(100 * Math.min(1, Math.max(0, p.data.share))) + "%";
      box.append(span(p.data.duration_text, "num"), bar);
      return box;
    },
  };

  /** The tooltip of a chart's item: an element, whose first line is its heading. */
  function tip(data) {
    if (!data?.tip) return "";
    const [first, ...rest] = String(data.tip).split("\n");
    const box = span("", "chart-tip");
    box.append(span(first, "first"), ...rest.map((line) => span(line, "")));
    return box;
  }

  /** Dark or light, at once; the server hears of it when it is there to hear. What is seen now decides, not what the
   * server believes: it does not know which theme the browser began with. */
  function switchTheme() {
    const dark = !document.body.classList.contains("body--dark");
    setDark(dark);
    document.cookie = `remora_theme=${dark ? "dark" : "light"}; path=/; max-age=31536000; samesite=strict`;
    emitEvent("theme", { dark });
  }

  window.remora = { moment, cell, tip, switchTheme };

  function report() {
    if (!window.socket?.connected) return;
    emitEvent("viewport", {
      width: window.innerWidth,
      height: window.innerHeight,
      dark: document.body.classList.contains("body--dark"),
    });
  }
  let waiting;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(report, 150);
  });
  document.addEventListener("visibilitychange", () => {
    if (window.socket?.connected) emitEvent("visible", { visible: !document.hidden });
  });
})();
