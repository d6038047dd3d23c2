// What node has open that is neither its own nor a pipe: files, sockets, folders.
const fs = require("fs");
for (const fd of fs.readdirSync("/proc/self/fd")) {
  let target;
  try { target = fs.readlinkSync(`/proc/self/fd/${fd}`); } catch { continue; }
  if (!/^(pipe:|anon_inode:|\/dev\/null$|\/proc\/)/.test(target) || /fd\/?$/.test(target) && !target.startsWith("/proc/")) {
    console.log("ACHIEVED", fd, target);
  }
}
console.log("DONE");
