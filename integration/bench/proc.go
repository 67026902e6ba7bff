package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ticksPerSecond is the unit of CPU times in /proc.
const ticksPerSecond = 100

// sample is what a process has used so far.
type sample struct {
	at     time.Time
	cpu    time.Duration
	kernel time.Duration // of cpu
	rss    int64         // bytes
}

func read(pid int) (sample, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return sample{}, err
	}
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	pages, err3 := strconv.ParseInt(fields[21], 10, 64)
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return sample{}, fmt.Errorf("read /proc/%d/stat: %w", pid, err)
		}
	}
	return sample{
		at: time.Now(), cpu: time.Duration(user+system) * time.Second / ticksPerSecond, kernel: time.Duration(system) * time.Second / ticksPerSecond,
		rss: pages * int64(os.Getpagesize()),
	}, nil
}

// inUse is what the daemon's heap and stacks hold after a collection of garbage.
func (c *running) inUse(ctx context.Context) (bytes float64, err error) {
	for range 2 { // what the first frees of pools, the second frees
		if _, err := c.ownPage(ctx, "/debug/pprof/heap?gc=1"); err != nil {
			return 0, err
		}
	}
	page, err := c.ownPage(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(page) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name != "go_memstats_heap_inuse_bytes" && name != "go_memstats_stack_inuse_bytes" {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("read the daemon's metrics: %w", err)
		}
		bytes += n
	}
	return bytes, nil
}

// ownPage asks the daemon on its socket.
func (c *running) ownPage(ctx context.Context, path string) (string, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.dir.Socket())
	}
	own := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://daemon"+path, nil)
	if err != nil {
		return "", err
	}
	res, err := own.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask the daemon: %w", err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	return string(page), err
}

// revision is the store's: it goes up by one with every write.
func (c *running) revision(ctx context.Context) (int64, error) {
	list, err := c.kube.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(list.ResourceVersion, 10, 64)
}

// idle leaves the cluster alone for a while, after a moment to settle.
func idle(ctx context.Context, o options, c *running, t *table) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(10 * time.Second):
	}
	pid := c.daemon.Process.Pid
	before, err := read(pid)
	if err != nil {
		return err
	}
	rev, err := c.revision(ctx)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(o.idle):
	}
	after, err := read(pid)
	if err != nil {
		return err
	}
	now, err := c.revision(ctx)
	if err != nil {
		return err
	}
	took := after.at.Sub(before.at).Seconds()
	t.add("idle, everything in one process: memory", mib(after.rss), "100 MiB")
	t.add("idle: CPU", fmt.Sprintf("%.2f %% of a core", 100*(after.cpu-before.cpu).Seconds()/took), "1 %")
	t.add("idle: etcd writes", fmt.Sprintf("%.3f /s", float64(now-rev)/took), "0.1 /s")
	return nil
}

func mib(bytes int64) string { return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20)) }
