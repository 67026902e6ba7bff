package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"karve.dev/karve/internal/cluster"
)

// upTimeout is how long a cluster may take to come up before up gives up waiting.
const upTimeout = 60 * time.Second

type upOptions struct {
	target
	listen, grpcListen       string
	clusterCIDR, serviceCIDR string
	nodes                    int
	dataplane                string
	changed                  func(flag string) bool
	access                   *cluster.AccessFlags
	upkeep                   *cluster.UpkeepFlags
}

// asBefore are the options of a start that changes no setting.
func asBefore(t target) *upOptions {
	none := pflag.NewFlagSet("up", pflag.ContinueOnError)
	return &upOptions{target: t, changed: none.Changed, access: cluster.NewAccessFlags(none), upkeep: cluster.NewUpkeepFlags(none)}
}

func upCommand() *cobra.Command {
	o := &upOptions{}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster on this machine, or say that it runs",
		Args:  cobra.NoArgs,
		Example: `  karve up                                         # one node, API on 127.0.0.1:6443
  karve up --nodes 3                               # three nodes on the one engine
  karve up --name second --listen 127.0.0.1:6444   # another cluster beside it`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.changed = cmd.Flags().Changed
			return up(cmd.Context(), o)
		},
	}
	o.exactFlags(cmd)
	cmd.Flags().StringVar(&o.listen, "listen", "127.0.0.1:6443", "where the Kubernetes REST API listens")
	cmd.Flags().StringVar(&o.grpcListen, "grpc-listen", "", "where the gRPC API listens (default: the same host, port + 1000)")
	cmd.Flags().StringVar(&o.clusterCIDR, "cluster-cidr", "", "the pods' address range (default: the first free of 10.244.0.0/16, 10.245.0.0/16, …)")
	cmd.Flags().StringVar(&o.serviceCIDR, "service-cidr", "", "the Services' address range (default: the first free of 10.96.0.0/16, 10.97.0.0/16, …)")
	cmd.Flags().IntVar(&o.nodes, "nodes", 1, "how many nodes to run on this machine's engine")
	cmd.Flags().StringVar(&o.dataplane, "dataplane", "auto", "how Services are balanced: ipvs, nftables, or auto for what the kernel has")
	o.access = cluster.NewAccessFlags(cmd.Flags())
	o.upkeep = cluster.NewUpkeepFlags(cmd.Flags())
	return cmd
}

func up(ctx context.Context, o *upOptions) error {
	dir := o.dir()
	if pid, ok := running(dir); ok && (answers(ctx, dir) || !waitGone(dir, dyingTimeout)) {
		fmt.Printf("karve: cluster %q is running (process %d)\n", o.name, pid)
		if err := o.later(dir); err != nil {
			return err
		}
		return connect(dir)
	}
	if os.Geteuid() != 0 {
		return errors.New("a cluster needs root, for networks and mounts: run sudo karve up")
	}
	if _, known, err := dir.Load(); err == nil && !known {
		lock, err := cluster.LockRanges()
		if err != nil {
			return fmt.Errorf("choose address ranges: %w", err)
		}
		defer lock.Close()
	}
	settings, err := o.settings(dir)
	if err != nil {
		return err
	}
	if err := preflight(ctx, dir, settings); err != nil {
		return err
	}
	if err := dir.Save(settings); err != nil {
		return err
	}
	daemon, err := startDaemon(dir)
	if err != nil {
		return err
	}
	if err := follow(ctx, dir, daemon); err != nil {
		return err
	}
	if err := connect(dir); err != nil {
		return err
	}
	fmt.Print(whatNext(o.target))
	return nil
}

// later says which flags a cluster that runs takes no notice of. Those that repeat its settings are none.
func (o *upOptions) later(dir cluster.Dir) error {
	has, _, err := dir.Load()
	if err != nil {
		return err
	}
	wanted, err := o.settings(dir)
	if err != nil || reflect.DeepEqual(has, wanted) {
		return err
	}
	for _, flag := range slices.Concat([]string{"listen", "grpc-listen", "nodes", "dataplane"}, o.access.Changed(), o.upkeep.Changed()) {
		if o.changed(flag) {
			fmt.Printf("karve: --%s counts at the next start: karve down%s, then karve up%s --%s …\n", flag, o.again(), o.again(), flag)
		}
	}
	return nil
}

// settings are those of the cluster's last start, changed by the flags that were given.
func (o *upOptions) settings(dir cluster.Dir) (cluster.Settings, error) {
	s, known, err := dir.Load()
	if err != nil {
		return s, err
	}
	if !known {
		s = cluster.Settings{Name: o.name, Listen: o.listen, Nodes: o.nodes, Dataplane: o.dataplane}
		if s.ClusterCIDR, s.ServiceCIDR, err = cluster.ChooseRanges(filepath.Dir(string(dir))); err != nil && (o.clusterCIDR == "" || o.serviceCIDR == "") {
			return s, err
		}
	}
	if known && s.Name != o.name && o.named {
		return s, fmt.Errorf("%s holds the cluster %q: leave out --name, or choose another --data-dir", dir, s.Name)
	}
	for flag, set := range map[string]func(){
		"listen":    func() { s.Listen, s.GRPCListen = o.listen, "" },
		"nodes":     func() { s.Nodes = o.nodes },
		"dataplane": func() { s.Dataplane = o.dataplane },
	} {
		if o.changed(flag) {
			set()
		}
	}
	if err := o.access.Apply(&s.Access); err != nil {
		return s, err
	}
	if err := o.upkeep.Apply(&s.Upkeep); err != nil {
		return s, err
	}
	if err := o.ranges(&s, known); err != nil {
		return s, err
	}
	if o.grpcListen != "" {
		s.GRPCListen = o.grpcListen
	}
	if s.GRPCListen == "" {
		if s.GRPCListen, err = besides(s.Listen); err != nil {
			return s, err
		}
	}
	return s, s.Validate()
}

func (o *upOptions) ranges(s *cluster.Settings, known bool) error {
	for _, r := range []struct {
		flag, value string
		into        *netip.Prefix
	}{{"cluster-cidr", o.clusterCIDR, &s.ClusterCIDR}, {"service-cidr", o.serviceCIDR, &s.ServiceCIDR}} {
		if r.value == "" {
			continue
		}
		p, err := netip.ParsePrefix(r.value)
		if err != nil {
			return fmt.Errorf("--%s %q: give a range such as 10.244.0.0/16", r.flag, r.value)
		}
		if known && p != *r.into {
			return fmt.Errorf("--%s: the cluster was made with %s; remove it first (karve down --purge%s) to change that", r.flag, *r.into, o.again())
		}
		*r.into = p
	}
	return nil
}

// besides returns the gRPC address that goes with a REST address.
func besides(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("--listen %q: give host:port, such as 127.0.0.1:6443", listen)
	}
	n, err := strconv.Atoi(port)
	if err != nil || n+1000 > 65535 {
		return "", errors.New("give --grpc-listen too: there is no port 1000 above that of --listen")
	}
	return net.JoinHostPort(host, strconv.Itoa(n+1000)), nil
}

// follow shows the daemon's steps until it is ready or has failed.
func follow(ctx context.Context, dir cluster.Dir, d *started) error {
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	show := newSteps()
	defer show.end()
	outcome := make(chan error, 1)
	go func() {
		err := errors.New("it ended without a word")
		if readErr := cluster.ReadSteps(d.steps, func(s cluster.Step) {
			switch {
			case s.Error != "":
				err = errors.New(s.Error)
			case s.Ready:
				err = nil
			}
			show.step(s)
		}); readErr != nil {
			err = readErr
		}
		outcome <- err
	}()
	select {
	case err := <-outcome:
		if err != nil {
			return fmt.Errorf("the cluster did not start: %w (log: %s)", err, dir.Log())
		}
		return nil
	case <-ctx.Done():
		_ = d.steps.Close()
		return fmt.Errorf("the cluster is not ready after %s; it goes on trying: karve status tells, the log is %s", upTimeout, dir.Log())
	}
}
