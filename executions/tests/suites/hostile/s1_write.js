// The same from node: write, append, copy, rename, symlink.
const fs = require("fs");
const [nonce, folders] = process.argv.slice(2);
function attempt(what, action) {
  try { action(); console.log("ACHIEVED", what); } catch (error) { console.log("denied", what, error.code); }
}
for (const folder of [...folders.split(":"), "/etc", "/usr/bin", "/"]) {
  attempt(`write ${folder}`, () => fs.writeFileSync(`${folder}/suite-${nonce}`, "x"));
  attempt(`append ${folder}`, () => fs.closeSync(fs.openSync(`${folder}/bait.h`, "a")));
  attempt(`rename ${folder}`, () => fs.renameSync(`${folder}/bait.h`, `${folder}/gone.h`));
  attempt(`symlink ${folder}`, () => fs.symlinkSync("/", `${folder}/suite-link-${nonce}`));
}
console.log("DONE");
