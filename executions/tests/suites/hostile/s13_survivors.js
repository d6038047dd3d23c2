// Detached children with their own streams.
const { spawn } = require("child_process");
for (let i = 0; i < 3; i++) spawn("sleep", ["1000"], { detached: true, stdio: "ignore" }).unref();
spawn("sleep", ["1000"], { detached: true, stdio: "inherit" }).unref();
console.log("DONE");
