package main

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/keeper"
	"github.com/autoctl/autoctl/keeper/control"
)

// progressInterval is how often a keeper's long work is looked at; progressPatience after how long it is told again although it
// has not come much further.
const (
	progressInterval = 2 * time.Second
	progressPatience = 15 * time.Second
)

// progressActor logs how far long work is: a line when it begins, one every tenth of it, and now and then when it stands still.
func progressActor(ctx context.Context, log zerolog.Logger, stateDir string) (func() error, func(error)) {
	ctx, cancel := context.WithCancel(ctx)
	watch := func() error {
		var p progress
		tick := time.NewTicker(progressInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case now := <-tick.C:
				var status keeper.ServiceStatus
				err := control.Call(ctx, stateDir, control.Request{Command: "status"}, &status, nil)
				if err == nil && p.worthTelling(status.Report.Activity, now) {
					log.Info().Str("activity", status.Report.Activity.Kind).Msg(activityText(*status.Report.Activity))
				}
			}
		}
	}
	return watch, func(error) { cancel() }
}

// progress remembers what was told last.
type progress struct {
	text  string
	tenth int64
	told  time.Time
}

// worthTelling decides whether an activity is news, and remembers it if so.
func (p *progress) worthTelling(a *fsm.Activity, now time.Time) bool {
	if a == nil {
		*p = progress{}
		return false
	}
	tenth := int64(0)
	if a.Total > 0 {
		tenth = min(a.Done, a.Total) * 10 / a.Total
	}
	if a.Text == p.text && tenth == p.tenth && now.Sub(p.told) < progressPatience {
		return false
	}
	*p = progress{text: a.Text, tenth: tenth, told: now}
	return true
}
