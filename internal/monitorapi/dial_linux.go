package monitorapi

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// userTimeout is for how long sent data may stay unacknowledged before the kernel gives the connection up: a monitor whose
// host vanished is news after this, not after the kernel's own quarter of an hour.
const userTimeout = 6 * time.Second

func dialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{
		Timeout:         timeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: 1 * time.Second, Count: 4},
		Control: func(network, _ string, raw syscall.RawConn) error {
			if len(network) < 3 || network[:3] != "tcp" {
				return nil
			}
			var set error
			err := raw.Control(func(fd uintptr) {
				set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
			})
			if err != nil {
				return err
			}
			return set
		},
	}
}
