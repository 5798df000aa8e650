package monitor

import (
	"fmt"
	"maps"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/internal/pgserver/hba"
)

// defaultSocketDir prefers the distribution's directory, where psql looks first.
func defaultSocketDir() string {
	const usual = "/var/run/postgresql"
	if unix.Access(usual, unix.W_OK|unix.X_OK) == nil {
		return usual
	}
	return "/tmp"
}

// writeFiles makes the configuration files in dir say what c wants.
func writeFiles(c Config, dir string) error {
	if _, err := conf.WriteInclude(dir, parameters(c)); err != nil {
		return fmt.Errorf("configure monitor's server: %w", err)
	}
	if _, err := conf.EnsureInclude(filepath.Join(dir, "postgresql.conf"), conf.FileName); err != nil {
		return fmt.Errorf("configure monitor's server: %w", err)
	}
	if c.SkipHBA {
		return nil
	}
	block, err := rules(c)
	if err != nil {
		return err
	}
	if _, err := block.Write(filepath.Join(dir, "pg_hba.conf")); err != nil {
		return fmt.Errorf("write access rules of monitor: %w", err)
	}
	return nil
}

func parameters(c Config) conf.Params {
	p := conf.Params{
		"cluster_name":            ClusterName,
		"listen_addresses":        c.Listen,
		"port":                    strconv.Itoa(c.Port),
		"unix_socket_directories": c.SocketDir,
		// Two connections a node and one a waiting command.
		"max_connections": "500",
		"shared_buffers":  "64MB",
		// A keeper whose host vanished gives its connections back within seconds.
		"tcp_keepalives_idle":     "5",
		"tcp_keepalives_interval": "2",
		"tcp_keepalives_count":    "4",
		"tcp_user_timeout":        "10s",
		"authentication_timeout":  "10s",
		"logging_collector":       "off",
		"log_line_prefix":         "%m [%p] %q%u@%h ",
		"log_checkpoints":         "off",
		// A refused call is the client's to report: here it is one line, without its statement.
		"log_error_verbosity":     "terse",
		"log_min_error_statement": "fatal",
		// The same few statements over a few rows for ever: to plan them anew for each of the first five times, or to compile them, costs a failover
		// more than to run them.
		"plan_cache_mode": "force_generic_plan",
		"jit":             "off",
		// Heartbeats update the same few rows for ever.
		"autovacuum_naptime": "15s",
		"ssl":                "off",
	}
	if c.TLS.CertFile != "" {
		p["ssl"] = "on"
		p["ssl_cert_file"] = c.TLS.CertFile
		p["ssl_key_file"] = c.TLS.KeyFile
		p["ssl_ca_file"] = c.TLS.CAFile
		p["ssl_crl_file"] = c.TLS.CRLFile
		p["ssl_min_protocol_version"] = "TLSv1.2"
	}
	maps.Copy(p, c.Parameters)
	return p
}

// rules admit ourselves through the socket and clients as their role to their database.
func rules(c Config) (hba.Block, error) {
	self, err := superuser()
	if err != nil {
		return hba.Block{}, err
	}
	method := c.Auth
	local := method
	if method == AuthCert {
		local = AuthSCRAM // there are no certificates on a socket
	}
	b := hba.Block{Rules: []hba.Rule{
		{Type: hba.Local, Databases: []string{hba.All}, Users: []string{self}, Method: "peer"},
		{Type: hba.Local, Databases: []string{Database}, Users: []string{Role}, Method: local},
	}}
	kind := hba.Host
	if c.TLS.CertFile != "" {
		kind = hba.HostSSL
	}
	for _, network := range c.Networks {
		b.Rules = append(b.Rules, hba.Rule{
			Type: kind, Databases: []string{Database}, Users: []string{Role}, Address: network, Method: method,
		})
	}
	// What is below was not written for clients: it must not let them in by another way, as without TLS.
	b.Rules = append(b.Rules,
		hba.Rule{Type: hba.Local, Databases: []string{hba.All}, Users: []string{Role}, Method: "reject"},
		hba.Rule{Type: hba.Host, Databases: []string{hba.All}, Users: []string{Role}, Address: "all", Method: "reject"})
	return b, nil
}
