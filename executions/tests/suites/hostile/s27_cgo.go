package main

/*
#include "@@bait_file@@"
*/
import "C"

func main() {}
