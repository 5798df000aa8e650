package fsm

import "testing"

func TestSmokeBootstrap(t *testing.T) {
	g := Group{Formation: "default", Kind: KindPgsql, Incarnation: 1, Settings: DefaultSettings(),
		Nodes: []Node{{ID: 1, Name: "a", Priority: 50, Quorum: true, Heard: -1, Probed: -1, Host: "h", Port: 1}}}
	d := Decide(g, 0)
	for _, e := range d.Events {
		t.Log(e)
	}
	if d.Group.Nodes[0].Goal.State != StateSingle {
		t.Fatal(d.Group.Nodes[0].Goal)
	}
	d2 := Decide(d.Group, 0)
	if d2.Changed {
		t.Fatal("not stable", d2.Events, d2.Push)
	}
}
