package main

import (
	"context"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/internal/pgserver/conninfo"
)

// uriRow is one row of show uri.
type uriRow struct {
	Type string `json:"type"` // "monitor" or "formation"
	Name string `json:"name"`
	// Access is "read-write", "read-only", or "monitor".
	Access string `json:"access"`
	URI    string `json:"uri"`
	// Cluster is the Citus cluster name of the read replicas that the URI leads to; empty for all other URIs.
	Cluster string `json:"citus_cluster,omitempty"`
}

func (a *app) showURI() *cobra.Command {
	var t *target
	var sslMode, sslRoot, user string
	cmd := &cobra.Command{
		Use: "uri", Short: "Print connection URIs for applications, and the monitor's",
		Long: `Print connection URIs. Those of a formation name all its nodes: libpq, and drivers that
follow it, find the primary (target_session_attrs=read-write) or prefer a standby for
reading. They hold no password. Read replicas that Citus knows (--citus-secondary) have a URI of
their own.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return attempt(t.withMonitor(cmd.Context(), func(s *session) error {
				rows, err := a.uriRows(cmd.Context(), t, s, uriOptions{sslMode: sslMode, sslRoot: sslRoot, user: user})
				if err != nil {
					return err
				}
				return a.print(map[string]any{"uris": rows}, func(w io.Writer) {
					tab := newTable("Type", "Name", "Access", "Connection String")
					for _, r := range rows {
						access := r.Access
						if r.Cluster != "" {
							access += ", cluster " + r.Cluster
						}
						tab.add(r.Type, r.Name, access, r.URI)
					}
					tab.write(w)
				})
			}), "show uri")
		},
	}
	t = bindTarget(cmd, true)
	cmd.Flags().StringVar(&sslMode, "ssl-mode", "", "sslmode of the URIs (default: the local node's, else the monitor URI's)")
	cmd.Flags().StringVar(&sslRoot, "ssl-ca-file", "", "`file` with the authorities that the URIs name as sslrootcert")
	cmd.Flags().StringVar(&user, "username", "", "role that the URIs name")
	return leaf(cmd, cobra.NoArgs)
}

// uriOptions is what the URIs of a formation say besides hosts and database.
type uriOptions struct{ sslMode, sslRoot, user string }

// uriRows builds the rows: the monitor first, then two for each formation with one group; of a Citus formation applications
// connect to the coordinators, which are group 0.
func (a *app) uriRows(ctx context.Context, t *target, s *session, o uriOptions) ([]uriRow, error) {
	own, err := t.monitorURI()
	if l, _, e := t.local(); e == nil && t.monitor == "" && l.Role == roleMonitor {
		own, err = l.ownURI()
	}
	if err != nil {
		return nil, err
	}
	o = t.uriDefaults(own, o)
	rows := []uriRow{{Type: "monitor", Name: "monitor", Access: "monitor", URI: own}}
	st, err := a.chosenState(ctx, t, s)
	if err != nil {
		return nil, err
	}
	for _, f := range st.Formations {
		for _, g := range f.Groups {
			if f.Kind == fsm.KindCitus && g.Group != 0 || len(g.Nodes) == 0 {
				continue
			}
			write, read, err := groupURIs(f.Database, g, o)
			if err != nil {
				return nil, err
			}
			rows = append(rows, uriRow{Type: "formation", Name: f.Name, Access: "read-write", URI: write}, uriRow{Type: "formation", Name: f.Name, Access: "read-only", URI: read})
			replicas, err := replicaURIs(f, g, o)
			if err != nil {
				return nil, err
			}
			rows = append(rows, replicas...)
		}
	}
	return rows, nil
}

// uriDefaults takes what was not given from the node on this machine, else from the monitor's own URI: the one TLS setting that
// a caller from elsewhere is known to accept.
func (t *target) uriDefaults(monitor string, o uriOptions) uriOptions {
	if l, _, err := t.local(); err == nil && t.monitor == "" {
		o.sslMode = firstOf(o.sslMode, l.sslMode())
		o.sslRoot = firstOf(o.sslRoot, l.SSL.CAFile)
		o.user = firstOf(o.user, l.PostgreSQL.Username)
		return o
	}
	mode, root := sslOf(monitor)
	o.sslMode = firstOf(o.sslMode, mode, "prefer")
	o.sslRoot = firstOf(o.sslRoot, root)
	return o
}

// groupURIs renders the two URIs of a group: the serving node first, so that most connections need one attempt.
func groupURIs(database string, g monitorapi.GroupState, o uriOptions) (write, read string, err error) {
	var hosts []conninfo.Host
	primary := serving(g)
	if primary != nil {
		hosts = append(hosts, conninfo.Host{Name: primary.Host, Port: primary.Port})
	}
	for _, n := range sortedNodes(g) {
		if n.Cluster == "" && (primary == nil || n.NodeID != primary.NodeID) {
			hosts = append(hosts, conninfo.Host{Name: n.Host, Port: n.Port})
		}
	}
	options := map[string]string{"target_session_attrs": conninfo.ReadWrite, "sslmode": o.sslMode}
	if o.sslMode == "verify-ca" || o.sslMode == "verify-full" {
		options["sslrootcert"] = o.sslRoot
	}
	if write, err = conninfo.URI(hosts, o.user, database, options); err != nil {
		return "", "", err
	}
	options["target_session_attrs"] = conninfo.PreferStandby
	read, err = conninfo.URI(hosts, o.user, database, options)
	return write, read, err
}

// replicaURIs renders a URI for each cluster of read replicas among the coordinators.
func replicaURIs(f monitorapi.FormationState, g monitorapi.GroupState, o uriOptions) ([]uriRow, error) {
	clusters := map[string]monitorapi.GroupState{}
	for _, n := range g.Nodes {
		if n.Cluster == "" {
			continue
		}
		name := n.Cluster
		n.Cluster = ""
		of := clusters[name]
		of.Nodes = append(of.Nodes, n)
		clusters[name] = of
	}
	var rows []uriRow
	for _, name := range slices.Sorted(maps.Keys(clusters)) {
		_, read, err := groupURIs(f.Database, clusters[name], o)
		if err != nil {
			return nil, err
		}
		rows = append(rows, uriRow{Type: "formation", Name: f.Name, Access: "read-only", URI: read, Cluster: name})
	}
	return rows, nil
}
