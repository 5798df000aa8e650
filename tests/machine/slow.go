package machine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Slow makes every packet between any two hosts, clients included, arrive that
// much later, and loses so many of a hundred of them, until the function that it
// returns is called. Meanwhile cuts have no effect.
//
// It takes the place of the bridge: a packet socket at each port hands frames
// over as the kernel does, unfinished checksums and joined segments included.
func (l *Lab) Slow(delay time.Duration, lossPercent int) (end func()) {
	l.t.Helper()
	l.NeedLinks()
	r, err := l.net.relay(delay, lossPercent)
	if err != nil {
		l.t.Fatalf("slow the network down: %v", err)
	}
	end = sync.OnceFunc(func() {
		if err := errors.Join(r.close(), r.worked()); err != nil {
			l.t.Errorf("end the slow network: %v", err)
		}
		l.t.Logf("the slow network passed %d frames on, and lost %d", r.passed.Load(), r.lost.Load())
	})
	l.t.Cleanup(end)
	return end
}

// relay forwards frames between the ports of a network.
type relay struct {
	net     *network
	delay   time.Duration
	loss    int
	sockets map[string]*os.File // by port
	queues  map[string]chan frame
	wg      sync.WaitGroup

	mu    sync.Mutex
	ports map[[6]byte]string // by address

	passed, lost atomic.Int64 // frames
}

// enough is how many frames must have passed for one of them to be lost surely, where that is asked for.
const enough = 1000

// worked says what a relay did not do that it was made for.
func (r *relay) worked() error {
	switch passed, lost := r.passed.Load(), r.lost.Load(); {
	case passed == 0:
		return errors.New("it passed nothing on: nobody was slowed down")
	case passed > enough && r.loss > 0 && lost == 0:
		return fmt.Errorf("it passed %d frames on, and lost none", passed)
	}
	return nil
}

// frame is what one port sent, behind the kernel's own header for it.
type frame struct {
	due  time.Time
	data []byte
}

// The layout of a frame: the kernel's header, then Ethernet's.
const (
	frameHeader   = 10
	frameEther    = frameHeader + 14
	frameMost     = 1 << 17
	etherIPv4     = 0x0800
	ignoreOutward = 23 // PACKET_IGNORE_OUTGOING
)

func (n *network) relay(delay time.Duration, loss int) (*relay, error) {
	r := &relay{
		net: n, delay: delay, loss: loss, ports: map[[6]byte]string{},
		sockets: map[string]*os.File{}, queues: map[string]chan frame{},
	}
	names := []string{"client"}
	for i := range n.ports {
		names = append(names, fmt.Sprintf("p%d", i+1))
	}
	for _, port := range names {
		f, err := n.packetSocket(port)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen at port %s: %w", port, err), r.close())
		}
		r.sockets[port], r.queues[port] = f, make(chan frame, 1<<16)
	}
	for _, port := range names {
		if err := run("ip", "-n", n.space("switch"), "link", "set", port, "nomaster"); err != nil {
			return nil, errors.Join(err, r.close())
		}
	}
	for _, port := range names {
		r.wg.Go(func() { r.receive(port) })
		go r.send(port)
	}
	return r, nil
}

// close gives the ports back to the bridge.
func (r *relay) close() error {
	var errs []error
	for port, f := range r.sockets {
		errs = append(errs, f.Close())
		errs = append(errs, run("ip", "-n", r.net.space("switch"), "link", "set", port, "master", "br0"))
	}
	r.wg.Wait()
	for _, queue := range r.queues {
		close(queue)
	}
	return errors.Join(errs...)
}

// receive takes what the host at a port sends.
func (r *relay) receive(port string) {
	buf := make([]byte, frameMost)
	for {
		n, err := r.sockets[port].Read(buf)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil || n < frameEther {
			continue
		}
		r.forward(port, frame{time.Now().Add(r.delay), append([]byte(nil), buf[:n]...)})
	}
}

// forward queues a frame for where its receiver was seen, or for everybody.
func (r *relay) forward(from string, f frame) {
	to, sender := [6]byte(f.data[frameHeader:]), [6]byte(f.data[frameHeader+6:])
	r.mu.Lock()
	r.ports[sender] = from
	port := r.ports[to]
	r.mu.Unlock()
	if binary.BigEndian.Uint16(f.data[frameEther-2:]) == etherIPv4 && rand.IntN(100) < r.loss {
		r.lost.Add(1)
		return
	}
	for other, queue := range r.queues {
		if other == from || port != "" && other != port {
			continue
		}
		select {
		case queue <- f:
		default: // a full queue loses, as any switch does
		}
	}
}

// send passes frames on to the host at a port when they are due, in order.
func (r *relay) send(port string) {
	for f := range r.queues[port] {
		if wait := time.Until(f.due); wait > 0 {
			<-time.After(wait)
		}
		if _, err := r.sockets[port].Write(f.data); err == nil { // what cannot be sent is lost
			r.passed.Add(1)
		}
	}
}

// packetSocket opens a socket for whole frames at a port of the bridge.
func (n *network) packetSocket(port string) (*os.File, error) {
	type result struct {
		file *os.File
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends in its other namespace
		f, err := packetSocketIn(filepath.Join(netnsDir, n.space("switch")), port)
		done <- result{f, err}
	}()
	r := <-done
	return r.file, r.err
}

func packetSocketIn(space, port string) (*os.File, error) {
	there, err := os.Open(space)
	if err != nil {
		return nil, err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter %s: %w", space, err)
	}
	link, err := net.InterfaceByName(port)
	if err != nil {
		return nil, err
	}
	all := int(binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL & 0xff}))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, ignoreOutward, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: link.Index}),
	)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), port), nil
}
