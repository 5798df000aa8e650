// Command autoctl keeps PostgreSQL available: one binary with the monitor, the keeper, and everything that an operator says to them.
//
// This package holds the cobra tree, the configuration (viper lives in config.go and nowhere else), the assembly of the
// daemons, exit codes, and what is printed. It decides nothing: decisions are in fsm, effects in monitor and keeper.
package main

import (
	"context"
	"os"
)

// version is set by the build (-ldflags "-X main.version=…").
var version = "devel"

func main() {
	os.Exit(execute(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
