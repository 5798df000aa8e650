package keeper

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/internal/pgserver/disk"
)

// announcement is what the configuration said when the monitor last heard of it. What an operator changes on the monitor stays as
// long as the configuration says the same: only a change of the configuration is news.
type announcement struct {
	Monitor string     `json:"monitor"`
	Node    fsm.NodeID `json:"node"`
	Name    string     `json:"name"`
	Host    string     `json:"host"`
	Port    int        `json:"port"`
	Proxy   int        `json:"proxy_port,omitempty"`
}

func (s *Service) announcement(cfg Config) announcement {
	return announcement{Monitor: cfg.Monitor, Node: s.store.Get().Node, Name: cfg.Name, Host: cfg.Host, Port: cfg.Port, Proxy: cfg.ProxyPort}
}

func announcedFile(stateDir string) string { return filepath.Join(stateDir, "announced.json") }

// announced reports whether the monitor has heard this before. A file that cannot be read costs one more announcement.
func announced(stateDir string, a announcement) bool {
	data, err := os.ReadFile(announcedFile(stateDir))
	var last announcement
	return err == nil && json.Unmarshal(data, &last) == nil && last == a
}

// announce registers the node again, so that the monitor learns a new address or name from the configuration.
func (s *Service) announce(ctx context.Context, client Registrar, cfg Config) error {
	a := s.announcement(cfg)
	if _, err := client.Register(ctx, registration(cfg, s.store.Get(), s.systemID())); err != nil {
		return err
	}
	data, err := json.Marshal(a)
	if err == nil {
		_, err = disk.WriteFile(announcedFile(cfg.StateDir), data, 0o600)
	}
	if err != nil {
		s.opts.Log.Warn().Err(err).Msg("what was announced is not remembered: the next start announces it again")
	}
	return nil
}

// tell announces what a monitor has not heard of yet. One that is away hears of it from introduce.
func (s *Service) tell(ctx context.Context, client Registrar, cfg Config) error {
	if announced(cfg.StateDir, s.announcement(cfg)) {
		return nil
	}
	err := s.announce(ctx, client, cfg)
	if monitorapi.CodeOf(err) == monitorapi.CodeUnreachable {
		select {
		case s.unheard <- struct{}{}:
		default: // it is at it already
		}
		return fmt.Errorf("the configuration is in force here, and the monitor hears of it as soon as it answers: %w", err)
	}
	return err
}

// introduce announces what the monitor has not heard of: at the beginning, and after each reload while it was away.
func (s *Service) introduce(ctx context.Context) error {
	for {
		s.introduceOnce(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-s.unheard:
		}
	}
}

// introduceOnce retries while the monitor is away and gives up when it says no.
func (s *Service) introduceOnce(ctx context.Context) {
	for pause := 200 * time.Millisecond; ctx.Err() == nil; pause = min(pause*2, 5*time.Second) {
		s.mu.Lock()
		client, cfg := s.client, s.config
		s.mu.Unlock()
		if client == nil || announced(cfg.StateDir, s.announcement(cfg)) {
			return
		}
		err := s.announce(ctx, client, cfg)
		if err == nil {
			return
		}
		if monitorapi.CodeOf(err) != monitorapi.CodeUnreachable {
			s.opts.Log.Warn().Err(err).Msg("monitor does not take this node's address")
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}
