const { double } = require("./lib/double");
console.log(double(21), require("./data.json").name);
