process.exitCode = 42;
