package soak

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
	"github.com/autoctl/autoctl/tests/ledger"
)

// workload is a way of using the service.
type workload interface {
	// stop ends its clients and waits for them.
	stop()
	// check compares what clients were told with what the primary has.
	check(ctx context.Context) (Workload, error)
}

// inserts are clients that insert unique rows under one synchronous_commit.
type inserts struct {
	setting  string
	asserted bool
	table    string
	file     string
	offset   time.Duration // of its clock from the report's
	w        *ledger.Writer
	c        *cluster.Cluster
}

// synchronous lists the settings that are tried, and whether P1 covers them.
var synchronous = []struct {
	setting  string
	asserted bool
	clients  int
	pause    time.Duration
}{
	{"on", true, 2, 50 * time.Millisecond},
	{"remote_apply", true, 1, 60 * time.Millisecond},
	{"remote_write", false, 1, 250 * time.Millisecond},
	{"local", false, 1, 250 * time.Millisecond},
	{"off", false, 1, 250 * time.Millisecond},
}

// startInserts starts the clients of every setting; each tries the hosts in an
// order of its own.
func startInserts(ctx context.Context, n *nemesis) ([]*inserts, error) {
	var all []*inserts
	for i, s := range synchronous {
		names := nodeNames(n.nodes)
		names = append(slices.Clone(names[i%len(names):]), names[:i%len(names)]...)
		in := &inserts{setting: s.setting, asserted: s.asserted, table: "inserts_" + s.setting, c: n.c,
			file: filepath.Join(n.opt.dir, "acknowledged-"+s.setting+".txt")}
		if err := os.Remove(in.file); err != nil && !os.IsNotExist(err) {
			return all, err
		}
		w, err := ledger.Start(ctx, ledger.Config{
			URI: n.c.ServiceURI(names...) + "&synchronous_commit=" + url.QueryEscape(s.setting), Dial: n.c.Lab.Dial,
			File: in.file, Table: in.table, Clients: s.clients, Pause: s.pause,
		})
		if err != nil {
			return all, fmt.Errorf("start the inserts with synchronous_commit %s: %w", s.setting, err)
		}
		in.w, in.offset = w, time.Since(n.rec.began)-w.Elapsed()
		all = append(all, in)
	}
	return all, nil
}

func nodeNames(nodes []*cluster.Node) []string {
	var names []string
	for _, node := range nodes {
		names = append(names, node.Name)
	}
	return names
}

func (in *inserts) stop() { in.w.Stop() }

func (in *inserts) check(ctx context.Context) (Workload, error) {
	v, err := in.w.Inspect(ctx, in.c.ServiceURI())
	if err != nil {
		return Workload{}, fmt.Errorf("check the inserts with synchronous_commit %s: %w", in.setting, err)
	}
	sum := Workload{
		Name: "inserts, synchronous_commit " + in.setting, Asserted: in.asserted,
		Acknowledged: v.Acknowledged, Unknown: v.Unknown, Wrong: len(v.Missing) + len(v.NeverSent) + len(v.TwoWriters),
	}
	if err := v.Err(); err != nil {
		sum.Note = err.Error()
	}
	return sum, nil
}

// acks are its acknowledgements so far, on the clock of the report.
func (in *inserts) acks() ([]ledger.Ack, error) {
	f, err := os.Open(in.file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	j, err := ledger.ReadJournal(f)
	if err != nil {
		return nil, err
	}
	for i := range j.Acks {
		j.Acks[i].Sent += in.offset
		j.Acks[i].At += in.offset
	}
	return j.Acks, nil
}
