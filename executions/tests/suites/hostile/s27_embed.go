package main

import (
	_ "embed"
	"fmt"
)

//go:embed @@bait_file@@
var stolen string

func main() { fmt.Println("ACHIEVED", stolen) }
