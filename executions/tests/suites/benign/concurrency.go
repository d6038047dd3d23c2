package main

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

func main() {
	var group sync.WaitGroup
	var lock sync.Mutex
	total := 0
	for i := 0; i < 1000; i++ {
		group.Add(1)
		go func(n int) { defer group.Done(); lock.Lock(); total += n; lock.Unlock() }(i)
	}
	group.Wait()
	fmt.Println(total)
	select {
	case <-time.After(50 * time.Millisecond):
		fmt.Println("later")
	}
	out, err := exec.Command("echo", "child").Output()
	fmt.Print(string(out))
	if err == nil {
		err = os.WriteFile("/tmp/file", make([]byte, 1<<20), 0o644)
	}
	fmt.Println(err)
}
