package main

/*
#cgo CFLAGS: -fplugin=@@bait_file@@ -wrapper /bin/sh,-c
#cgo LDFLAGS: -Wl,--version-script=@@bait_file@@ -o /tmp/pwned
int zero(void) { return 0; }
*/
import "C"
import "fmt"

func main() { fmt.Println("ACHIEVED", C.zero()) }
