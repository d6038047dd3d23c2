package main

import (
	"fmt"
	"net"
	"os"
	"time"
)

func main() {
	addresses := [][2]string{{"tcp", "127.0.0.1:" + os.Args[1]}, {"udp", "127.0.0.1:" + os.Args[1]}, {"unix", os.Args[2]}, {"unix", "@" + os.Args[3]}, {"tcp", "169.254.169.254:80"}}
	for _, address := range addresses {
		connection, err := net.DialTimeout(address[0], address[1], 300*time.Millisecond)
		if err != nil {
			fmt.Println("denied", err)
			continue
		}
		if address[0] != "udp" {
			fmt.Println("ACHIEVED", address)
		}
		connection.Write([]byte("hello"))
	}
	interfaces, _ := net.Interfaces()
	for _, one := range interfaces {
		if one.Flags&net.FlagLoopback == 0 && one.Flags&net.FlagUp != 0 {
			fmt.Println("ACHIEVED interface", one.Name)
		}
	}
	fmt.Println("DONE")
}
