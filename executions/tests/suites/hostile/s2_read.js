// Every marker file, from node, also through /proc and by climbing out of the folder.
const fs = require("fs");
for (const folder of process.argv[2].split(":")) {
  for (const root of ["", "/proc/1/root", "/proc/self/cwd/../../../../../.."]) {
    for (const name of ["bait.h", ".env", "private"]) {
      try {
        console.log("ACHIEVED", fs.readFileSync(`${root}${folder}/${name}`, "utf8"));
      } catch (error) {
        console.log("denied", root + folder, error.code);
      }
    }
  }
}
console.log("DONE");
