package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/autoctl/autoctl/cmd/autoctl/demo"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

func (a *app) demoCommand() *cobra.Command {
	o := demo.Options{Nodes: 3}
	cmd := &cobra.Command{
		Use: "demo", Short: "Show a group of PostgreSQL nodes on this machine, a failover, and a crash",
		Long: `Start a monitor and some PostgreSQL nodes on this machine, on free ports of the loopback
address, with clients that write and remember every acknowledged row. Then fail over, kill the
new primary, and show for both how long writes paused, and that no acknowledged row is missing.
It stays until Ctrl-C (--once: ends by itself) and leaves nothing behind.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Nodes < 2 || o.Nodes > 9 {
				return fail(classUsage, "", "--nodes is %d: must be between 2 and 9", o.Nodes)
			}
			if err := notRoot(o.Dir); err != nil {
				return attempt(err, "demo")
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			return attempt(a.demo(ctx, o), "demo")
		},
	}
	cmd.Flags().IntVar(&o.Nodes, "nodes", 3, "how `many` PostgreSQL nodes")
	cmd.Flags().StringVar(&o.Dir, "dir", "", "empty or new `directory` for everything (default: a temporary one)")
	cmd.Flags().BoolVar(&o.Once, "once", false, "end by itself when the show is over")
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "stop everything, but keep the directory with its logs")
	return leaf(cmd, cobra.NoArgs)
}

func (a *app) demo(ctx context.Context, o demo.Options) error {
	binary, err := demoBinary()
	if err != nil {
		return err
	}
	o.Binary, o.Out, o.Terminal, o.Table = binary, a.out, a.terminal(), writeState
	o.Width = func() int {
		if f, ok := a.out.(*os.File); ok {
			if width, _, err := term.GetSize(int(f.Fd())); err == nil {
				return width
			}
		}
		return 0
	}
	o.URIs = func(st monitorapi.State) (write, read string) {
		for _, f := range st.Formations {
			for _, g := range f.Groups {
				write, read, _ = groupURIs(f.Database, g, uriOptions{sslMode: "disable", user: "demo"})
				return write, read
			}
		}
		return "", ""
	}
	return demo.Run(ctx, o)
}
