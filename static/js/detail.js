// The page of one execution: follows it while it is not final.
"use strict";

Result.start();
