// The same by node's own means, with a deadline.
const net = require("net"), dgram = require("dgram"), dns = require("dns");
const [tcp, path, abstract, outside] = process.argv.slice(2);
const targets = [{ host: "127.0.0.1", port: +tcp }, { path }, { path: "\0" + abstract }, { host: "::1", port: +tcp }];
for (const host of outside ? outside.split(",") : []) targets.push({ host, port: 80 });
for (const target of targets) {
  const sock = net.connect(target);
  sock.on("connect", () => { console.log("ACHIEVED", JSON.stringify(target)); });
  sock.on("data", (data) => console.log("ACHIEVED", data.toString()));
  sock.on("error", (error) => console.log("denied", error.code));
  sock.setTimeout(500, () => sock.destroy());
}
if (outside) dns.lookup("localhost.example.com", (error) => console.log(error ? "denied name" : "ACHIEVED a name"));
setTimeout(() => { console.log("DONE"); process.exit(0); }, 700);
