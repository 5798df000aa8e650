package main

import (
	"errors"

	"github.com/autoctl/autoctl/cmd/autoctl/demo"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/tlscert"
	"github.com/autoctl/autoctl/keeper"
	"github.com/autoctl/autoctl/keeper/control"
	"github.com/autoctl/autoctl/keeper/daemon"
	"github.com/autoctl/autoctl/keeper/state"
	"github.com/autoctl/autoctl/monitor"
)

// classifyLocal maps the errors of the daemons' packages to classes; nil when err is none of them.
func classifyLocal(err error) *failure {
	if r, ok := errors.AsType[*keeper.Refusal](err); ok {
		return &failure{class: refusalClass(string(r.Code)), err: err, hint: r.Hint}
	}
	if r, ok := errors.AsType[*monitor.RefusedError](err); ok {
		return &failure{class: classPrecondition, err: err, hint: r.Hint}
	}
	if told, ok := errors.AsType[*control.Error](err); ok {
		return &failure{class: refusalClass(told.Code), err: err, hint: told.Hint}
	}
	if held, ok := errors.AsType[*state.HeldError](err); ok {
		return &failure{class: classPrecondition, err: held, hint: `"autoctl status" shows it, "autoctl stop" ends it`}
	}
	for _, known := range []struct {
		err   error
		class class
		hint  string
	}{
		{daemon.ErrDropped, classDropped, `"autoctl create postgres" makes it a node again, "autoctl drop node --destroy" removes what is left`},
		{control.ErrNotRunning, classNotRunning, `"autoctl run" starts it`},
		{monitor.ErrLocked, classPrecondition, `"autoctl status" shows it, "autoctl stop" ends it`},
		{pgserver.ErrNoBinaries, classPrecondition, "install PostgreSQL's server programs, or name its pg_ctl with --pgctl"},
		{pgserver.ErrSeveralBinaries, classPrecondition, "choose one with --pgctl, such as --pgctl /usr/lib/postgresql/15/bin/pg_ctl"},
		{tlscert.ErrIncomplete, classConfig, "give --server-cert together with --server-key"},
		{tlscert.ErrExposed, classConfig, "chmod 0600 the key"},
		{demo.ErrOccupied, classPrecondition, "name an empty or new directory with --dir: the demonstration deletes it at its end"},
		{demo.ErrMissing, classFailed, "this must not happen: please keep the logs (--keep) and report it"},
	} {
		if errors.Is(err, known.err) {
			return &failure{class: known.class, err: err, hint: known.hint}
		}
	}
	if e, ok := errors.AsType[*pgserver.ToolError](err); ok {
		return &failure{class: classFailed, err: e}
	}
	return nil
}

// refusalClass is the class of a code of package keeper or of package monitorapi: the control socket carries both.
func refusalClass(code string) class {
	switch code {
	case string(keeper.CodeConfig), string(keeper.CodeState):
		return classConfig
	case string(keeper.CodeRoot), string(keeper.CodeHeld), string(keeper.CodeForeign), string(keeper.CodeOtherVersion), string(keeper.CodeOtherSystem),
		string(keeper.CodeDamaged), string(keeper.CodePort), string(keeper.CodeHost), string(keeper.CodeSetup), string(keeper.CodeNoRoom), string(keeper.CodeNotCreated):
		return classPrecondition
	case string(keeper.CodeGone):
		return classDropped
	case string(monitorapi.CodeUnreachable), string(monitorapi.CodeNotMonitor), string(monitorapi.CodeProtocol), string(monitorapi.CodeTLS):
		return classUnreachable
	case string(monitorapi.CodeAuth):
		return classAuth
	case string(monitorapi.CodeInvalid), "usage":
		return classUsage
	case string(monitorapi.CodeRefused), string(monitorapi.CodeUnknown), string(monitorapi.CodeConflict):
		return classRefused
	}
	return classFailed
}
