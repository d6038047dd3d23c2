name <- readLines(file("stdin"), n = 1)
cat("Grüße, ", name, "!\n", sep = "")
quit(status = 3)
