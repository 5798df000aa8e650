package machine

import "fmt"

// NextAddr is the address that Readdress gives the host.
func (h *Host) NextAddr() string {
	h.lab.t.Helper()
	h.lab.NeedLinks()
	return fmt.Sprintf("%s.%d", h.lab.net.subnet, 100+h.number)
}

// Readdress takes the host's address away and gives it another one, as happens
// when a machine moves: what is connected by the old address stays without an
// answer. It can be done once.
func (h *Host) Readdress() {
	h.lab.t.Helper()
	next := h.NextAddr()
	space := h.lab.net.space(h.Name)
	for _, step := range [][]string{
		{"addr", "del", h.Addr + "/24", "dev", "eth0"},
		{"addr", "add", next + "/24", "dev", "eth0"},
	} {
		if err := run("ip", append([]string{"-n", space}, step...)...); err != nil {
			h.lab.t.Fatalf("move %s to another address: %v", h.Name, err)
		}
	}
	h.Addr = next
}
