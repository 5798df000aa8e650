package control_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/autoctl/autoctl/keeper/control"
)

func serve(t *testing.T, dir string, h control.Handler) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- control.Serve(ctx, dir, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	// Its file is there a moment before it listens: only an answer shows that it serves.
	for err := control.ErrNotRunning; errors.Is(err, control.ErrNotRunning); {
		err = control.Call(t.Context(), dir, control.Request{Command: "anybody there"}, nil, nil)
		if t.Context().Err() != nil {
			t.Fatal("nobody serves")
		}
	}
}

func TestCall(t *testing.T) {
	// Deeper than the name of a socket may be long.
	dir := filepath.Join(t.TempDir(), strings.Repeat("x", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := control.Call(t.Context(), dir, control.Request{Command: "status"}, nil, nil); !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("nobody there: %v", err)
	}
	serve(t, dir, func(_ context.Context, r control.Request, progress func(string)) (any, error) {
		if r.Command != "status" {
			return nil, &control.Error{Code: "refused", Text: "no " + r.Command, Hint: "ask status"}
		}
		progress("one")
		progress("two")
		return map[string]int{"answer": 42}, nil
	})
	var got map[string]int
	var news []string
	err := control.Call(t.Context(), dir, control.Request{Command: "status"}, &got, func(s string) { news = append(news, s) })
	if err != nil || got["answer"] != 42 || !slices.Equal(news, []string{"one", "two"}) {
		t.Errorf("%v %v %v", got, news, err)
	}
	err = control.Call(t.Context(), dir, control.Request{Command: "dance"}, nil, nil)
	if told, ok := errors.AsType[*control.Error](err); !ok || told.Code != "refused" || told.Hint == "" {
		t.Errorf("refusal: %v", err)
	}
}
