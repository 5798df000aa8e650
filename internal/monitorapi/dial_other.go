//go:build !linux

package monitorapi

import (
	"net"
	"time"
)

func dialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{
		Timeout:         timeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: 1 * time.Second, Count: 4},
	}
}
