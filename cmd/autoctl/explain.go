package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

func (a *app) explainCommand() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "explain", Short: "Tell why a group is not in its best state, what it waits for, and what losing each node would do",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return attempt(t.withMonitor(cmd.Context(), func(s *session) error {
				f, err := s.oneFormation(cmd.Context())
				if err != nil {
					return err
				}
				docs, err := s.explain(cmd.Context(), f)
				if err != nil {
					return err
				}
				return a.print(map[string]any{"groups": docs}, func(w io.Writer) {
					for i, d := range docs {
						if i > 0 {
							fmt.Fprintln(w)
						}
						fmt.Fprintf(w, "Formation %s, group %d: ", printable(d.Formation), d.Group)
						fmt.Fprintln(w, strings.TrimRight(d.Text(), "\n"))
					}
				})
			}), "explain")
		},
	}
	t = bindTarget(cmd, true)
	return leaf(cmd, cobra.NoArgs)
}

// deciderSilence is from which age the last sign of life of the monitor's decision loop, which gives one a second, is worth a warning.
const deciderSilence = 4 * time.Second

// explain explains the chosen group, or all of the formation.
func (s *session) explain(ctx context.Context, f monitorapi.FormationState) ([]fsm.Explanation, error) {
	docs := []fsm.Explanation{}
	if s.group >= 0 {
		if _, err := s.pick(f); err != nil {
			return nil, err
		}
	}
	for _, g := range f.Groups {
		if s.group >= 0 && g.Group != s.group {
			continue
		}
		in, err := s.ExplainInput(ctx, f.Name, g.Group)
		if err != nil {
			return nil, err
		}
		e := fsm.Explain(in.Group, in.Now)
		if in.DeciderAgeMS < 0 || in.DeciderAgeMS > deciderSilence.Milliseconds() {
			e = e.Undecided(in.DeciderAgeMS)
		}
		docs = append(docs, e)
	}
	if len(docs) == 0 {
		_, err := s.pick(f)
		return nil, err
	}
	return docs, nil
}
