/// <reference path="@@bait_file@@" />
import stolen = require("@@bait_file@@");
console.log("ACHIEVED", stolen);
