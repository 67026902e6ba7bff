// Command bench measures a real cluster on this machine: start, idle cost, API throughput over REST and gRPC, and the
// start of a pod, and of many, beside bare calls to the engine. It prints one table; absolute times hold for one machine
// and one run only, so what matters is measured against something in the same run.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "where karved is")
	flag.DurationVar(&o.idle, "idle", 60*time.Second, "how long to watch the idle cluster")
	flag.IntVar(&o.creates, "creates", 3000, "objects to create per kind and protocol")
	flag.IntVar(&o.listed, "listed", 10000, "pods to list")
	flag.IntVar(&o.watchers, "watchers", 200, "watchers to tell of updates")
	flag.IntVar(&o.updates, "updates", 500, "updates at 50/s to tell them; flat out it is four times that")
	flag.IntVar(&o.idleWatches, "idle-watches", 10000, "watches without events")
	flag.IntVar(&o.workers, "workers", 32, "creates at the same time")
	flag.IntVar(&o.starts, "starts", 20, "pod starts to time")
	flag.IntVar(&o.pods, "pods", 100, "pods to run at once")
	flag.IntVar(&o.probed, "probed", 100, "pods that are probed, for the agent's figures")
	flag.StringVar(&o.only, "only", "", "measure only this, by the name of its function")
	flag.StringVar(&o.cluster, "name", "bench", "the cluster's name; no other may have it")
	flag.StringVar(&o.image, "image", "my-app:latest", "an image on the engine (make example-image)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench: "+err.Error())
		os.Exit(1) //nolint:gocritic // bench has cleaned up
	}
}

type options struct {
	bin, cluster, image, only              string
	idle                                   time.Duration
	creates, workers, starts, pods, probed int
	listed, watchers, updates, idleWatches int
}

// table collects what is printed at the end.
type table struct{ rows [][3]string }

func (t *table) add(what, figure, aim string) { t.rows = append(t.rows, [3]string{what, figure, aim}) }

func (t *table) print() error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tMEASURED\tAIM")
	for _, r := range t.rows {
		fmt.Fprintf(w, "%s\t%s\t%s\n", r[0], r[1], r[2])
	}
	return w.Flush()
}

func bench(ctx context.Context, o options) (err error) {
	var t table
	c, err := start(ctx, o, &t)
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := c.stop(); err == nil {
			err = stopErr
		}
	}()
	for _, m := range []struct {
		name    string
		measure func(context.Context, options, *running, *table) error
	}{{"idle", idle}, {"podStarts", podStarts}, {"manyPods", manyPods}, {"probedPods", probedPods}, {"requests", requests}, {"watches", watches}, {"idleWatches", idleWatches}, {"afterwards", afterwards}} {
		if o.only != "" && o.only != m.name {
			continue
		}
		if err := m.measure(ctx, o, c, &t); err != nil {
			return err
		}
	}
	return t.print()
}
