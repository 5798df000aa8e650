package soak

import (
	"context"

	"github.com/autoctl/autoctl/tests/machine"
)

func hasDataVolume(n *nemesis, host string) bool  { return n.data[host] != nil }
func hasStateVolume(n *nemesis, host string) bool { return n.state[host] != nil }

func fillData(_ context.Context, n *nemesis, x *injection) (undo, error) {
	return fill(n.data[x.Host])
}

func fillState(_ context.Context, n *nemesis, x *injection) (undo, error) {
	return fill(n.state[x.Host])
}

func fill(v *machine.Volume) (undo, error) {
	return func(context.Context) error { return v.TryFree() }, v.TryFill()
}
