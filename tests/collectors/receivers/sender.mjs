// A sender of the npm package @fluent-org/logger for tests: `node sender.mjs MODULES OPTIONS COUNT`. It sends COUNT
// records, waits for what it is promised (an acknowledgement of each, where it asks for them) and prints "sent N", or
// "refused: NAME: TEXT".
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const [modules, text, count] = process.argv.slice(2);
const { FluentClient } = createRequire(`${modules}/`)("@fluent-org/logger");
const options = JSON.parse(text);
if (options.socket.tls) {
  for (const key of ["ca", "cert", "key"]) {
    if (options.socket.tls[key]) options.socket.tls[key] = readFileSync(options.socket.tls[key]);
  }
}
const client = new FluentClient("node", { disableAutoconnect: true, disconnect: { waitForPending: true }, ...options });
const refused = (error) => {
  console.log(`refused: ${error.name}: ${error.message}`);
  process.exit(0);
};
client.socketOn("error", refused);
try {
  await client.connect();
  const sent = [];
  for (let number = 0; number < Number(count); number++) {
    sent.push(client.emit("test", { message: `line ${number}`, number, nested: { text: "é" } }));
  }
  await Promise.all(sent);
  await client.disconnect();
  console.log(`sent ${sent.length}`);
  process.exit(0);
} catch (error) {
  refused(error);
}
