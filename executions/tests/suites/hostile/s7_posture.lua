io.write(io.open("/proc/self/status"):read("a"), "DONE\n")
