package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/autoctl/autoctl/fsm"
)

// setting is one timing of the monitor, found by reflection over fsm.Settings: its JSON tag is its name.
type setting struct {
	name  string // as users write it: without the unit
	field string // as JSON has it
	unit  string // "ms", "bytes" or ""
	index int
}

func settingList() []setting {
	var list []setting
	typ := reflect.TypeFor[fsm.Settings]()
	for i := range typ.NumField() {
		field, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		s := setting{name: field, field: field, index: i}
		if name, ok := strings.CutSuffix(field, "_ms"); ok {
			s.name, s.unit = name, "ms"
		}
		if strings.HasSuffix(field, "_bytes") {
			s.unit = "bytes"
		}
		list = append(list, s)
	}
	return list
}

func findSetting(name string) (setting, error) {
	list := settingList()
	if i := slices.IndexFunc(list, func(s setting) bool { return s.name == name || s.field == name }); i >= 0 {
		return list[i], nil
	}
	var names []string
	for _, s := range list {
		names = append(names, s.name)
	}
	hint := "settings: " + strings.Join(names, ", ")
	if near := nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	}
	return setting{}, fail(classUsage, hint, "unknown setting %q", name)
}

func (s setting) get(v fsm.Settings) int64 { return reflect.ValueOf(v).Field(s.index).Int() }

func (s setting) set(v *fsm.Settings, n int64) { reflect.ValueOf(v).Elem().Field(s.index).SetInt(n) }

// text prints a value with its unit.
func (s setting) text(n int64) string {
	switch s.unit {
	case "ms":
		if n%1000 == 0 && n != 0 {
			return fmt.Sprintf("%d s", n/1000)
		}
		return fmt.Sprintf("%d ms", n)
	case "bytes":
		return fsm.SizeText(n)
	}
	return strconv.FormatInt(n, 10)
}

// parse reads a value: a duration such as 3s or 500ms (a bare number is milliseconds), a size such as 16MB, or a number.
func (s setting) parse(text string) (int64, error) {
	compact := strings.ReplaceAll(text, " ", "")
	if n, err := strconv.ParseInt(compact, 10, 64); err == nil {
		return n, nil
	}
	switch s.unit {
	case "ms":
		if d, err := time.ParseDuration(compact); err == nil {
			return d.Milliseconds(), nil
		}
		return 0, fail(classUsage, "write it like 3s or 500ms", "%s is %q: must be a duration", s.name, text)
	case "bytes":
		for i, u := range []string{"kB", "MB", "GB"} {
			if digits, ok := strings.CutSuffix(compact, u); ok {
				if n, err := strconv.ParseInt(digits, 10, 32); err == nil {
					return n << (10 * (i + 1)), nil
				}
			}
		}
		return 0, fail(classUsage, "write it like 16MB", "%s is %q: must be a size", s.name, text)
	}
	return 0, fail(classUsage, "", "%s is %q: must be a whole number", s.name, text)
}

// worstCase is the longest time for which writes can pause in the two failures that users ask about, promotion and client aside.
type worstCase struct {
	CrashMS  int64 `json:"postgres_killed_ms"`
	SilentMS int64 `json:"host_lost_ms"`
}

// worst works out the bound of P5: detection, the wait for one more voter, and half a second to promote and to open.
func worst(s fsm.Settings) worstCase {
	const act = 500
	detect := s.NodeLostAfterMS + max(s.HeartbeatMS, s.ProbeIntervalMS)
	return worstCase{CrashMS: s.ElectionPatienceMS + act, SilentMS: detect + s.ElectionPatienceMS + act}
}

// settingsJSON is the schema of show settings.
type settingsJSON struct {
	Settings   fsm.Settings     `json:"settings"`
	WorstCase  worstCase        `json:"worst_case_failover"`
	Formations []formationValue `json:"formations"`
	Nodes      []nodeValue      `json:"nodes"`
}

type formationValue struct {
	Formation  string `json:"formation"`
	NumberSync int    `json:"number_sync_standbys"`
	Paused     bool   `json:"paused"`
}

type nodeValue struct {
	Formation string     `json:"formation"`
	NodeID    fsm.NodeID `json:"node_id"`
	Name      string     `json:"name"`
	Priority  int        `json:"candidate_priority"`
	Quorum    bool       `json:"replication_quorum"`
}

func (a *app) showSettings() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "settings", Short: "Print timings, with the failover time that results, and what is set per formation and node",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return attempt(t.withMonitor(cmd.Context(), func(s *session) error { return a.printSettings(cmd.Context(), t, s) }), "show settings")
		},
	}
	t = bindTarget(cmd, true)
	return leaf(cmd, cobra.NoArgs)
}

func (a *app) printSettings(ctx context.Context, t *target, s *session) error {
	v, err := s.Settings(ctx)
	if err != nil {
		return err
	}
	st, err := a.chosenState(ctx, t, s)
	if err != nil {
		return err
	}
	out := settingsJSON{Settings: v, WorstCase: worst(v), Formations: []formationValue{}, Nodes: []nodeValue{}}
	tab := newTable("Context", "Name", "Setting", "Value")
	for _, f := range st.Formations {
		out.Formations = append(out.Formations, formationValue{f.Name, f.NumberSync, f.Paused})
		tab.add("formation", f.Name, "number-sync-standbys", fmt.Sprint(f.NumberSync))
		for _, g := range f.Groups {
			tab.add("primary", fmt.Sprintf("%s/%d", f.Name, g.Group), "synchronous_standby_names", "'"+groupStandbyNames(f.Name, g).Names+"'")
			for _, n := range sortedNodes(g) {
				out.Nodes = append(out.Nodes, nodeValue{f.Name, n.NodeID, n.Name, n.Priority, n.Quorum})
				tab.add("node", n.Name, "candidate-priority", fmt.Sprint(n.Priority))
				tab.add("node", n.Name, "replication-quorum", fmt.Sprint(n.Quorum))
			}
		}
	}
	for _, x := range settingList() {
		tab.add("timing", "monitor", x.name, x.text(x.get(v)))
	}
	return a.print(out, func(w io.Writer) {
		tab.write(w)
		fmt.Fprintf(w, "\n%s\n", worstText(v))
	})
}

// worstText says in words what the timings amount to; create monitor prints it as well.
func worstText(s fsm.Settings) string {
	w := worst(s)
	return fmt.Sprintf("Longest pause of writes that these timings allow: %.1f s when PostgreSQL dies, %.1f s when its host is lost.",
		float64(w.CrashMS)/1000, float64(w.SilentMS)/1000)
}

// settingsMap is the JSON object of the timings alone.
func settingsMap(s fsm.Settings) (map[string]any, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	m := map[string]any{}
	return m, json.Unmarshal(b, &m)
}
