package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"karve.dev/karve/internal/cluster"
	"karve.dev/karve/internal/conditions"
	"karve.dev/karve/internal/process"
)

// statusTimeout bounds everything that status asks.
const statusTimeout = 5 * time.Second

func statusCommand() *cobra.Command {
	t, all := &target{}, false
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show a cluster's parts and their health",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all {
				return showClusters(cluster.Known())
			}
			return status(cmd.Context(), *t)
		},
	}
	t.flags(cmd)
	cmd.Flags().BoolVarP(&all, "all", "A", false, "list the clusters of this machine")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if all {
			return nil
		}
		return t.choose(cmd)
	}
	return cmd
}

func showClusters(known map[string]cluster.Dir) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "CLUSTER\tSTATE\tREST\tMEMORY\tDATA")
	for _, name := range slices.Sorted(maps.Keys(known)) {
		settings, _, err := known[name].Load()
		if err != nil {
			return err
		}
		if pid, ok := running(known[name]); ok {
			fmt.Fprintf(w, "%s\trunning\thttps://%s\t%s\t%s\n", name, settings.Listen, resident(pid), known[name])
		} else {
			fmt.Fprintf(w, "%s\tstopped\t\t\t%s\n", name, known[name])
		}
	}
	return w.Flush()
}

// others is a hint at clusters that the user may have meant.
func (t *target) others() string {
	run := runningOf(cluster.Known())
	if len(run) == 0 {
		return ""
	}
	return fmt.Sprintf(" (what runs is %s: karve status --all)", strings.Join(run, ", "))
}

func status(ctx context.Context, t target) error {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	dir := t.dir()
	if err := readable(dir); err != nil {
		return err
	}
	settings, known, err := dir.Load()
	if err != nil {
		return err
	}
	if !known {
		return exitCode{3, fmt.Errorf("there is no cluster in %s: karve up%s makes one%s", dir, t.again(), t.others())}
	}
	pid, ok := running(dir)
	if !ok {
		return exitCode{3, fmt.Errorf("cluster %q is stopped: karve up%s starts it%s (its log: %s)", settings.Name, t.again(), t.others(), dir.Log())}
	}
	fmt.Printf("cluster %q runs (process %d, %s resident)\n", settings.Name, pid, resident(pid))
	fmt.Printf("  REST  https://%s\n  gRPC  %s\n\n", settings.Listen, settings.GRPCListen)
	healthy, err := showParts(ctx, dir)
	if err != nil {
		return err
	}
	ready, err := showNodes(ctx, dir)
	if err != nil {
		return err
	}
	if !healthy || !ready {
		return exitCode{1, errors.New("not everything is well; the log: " + dir.Log())}
	}
	return nil
}

func readable(dir cluster.Dir) error {
	if _, err := os.ReadDir(string(dir)); errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%s belongs to root: run this with sudo", dir)
	}
	return nil
}

// resident returns a process's resident memory for people.
func resident(pid int) string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return "? MiB"
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(raw), &size, &pages); err != nil {
		return "? MiB"
	}
	return fmt.Sprintf("%d MiB", pages*int64(os.Getpagesize())>>20)
}

// parts asks the daemon for its components.
func parts(ctx context.Context, dir cluster.Dir) (parts []process.Status, err error) {
	daemon := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", dir.Socket())
	}}}
	defer daemon.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://karved/health", nil)
	if err != nil {
		return nil, err
	}
	res, err := daemon.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the daemon does not answer at %s: %w", dir.Socket(), err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&parts); err != nil {
		return nil, fmt.Errorf("read the daemon's health: %w", err)
	}
	return parts, nil
}

// showParts prints what the daemon says of its components.
func showParts(ctx context.Context, dir cluster.Dir) (healthy bool, err error) {
	parts, err := parts(ctx, dir)
	if err != nil {
		return false, err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "PART\tSTATE\tSINCE\tREASON")
	healthy = true
	for _, p := range parts {
		healthy = healthy && p.State == process.Ready
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.Name, p.State, duration.HumanDuration(time.Since(p.Since)), p.Reason)
	}
	return healthy, w.Flush()
}

// showNodes prints the nodes as the API tells of them.
func showNodes(ctx context.Context, dir cluster.Dir) (ready bool, err error) {
	config, err := clientcmd.BuildConfigFromFlags("", dir.Kubeconfig())
	if err != nil {
		return false, fmt.Errorf("read the cluster's kubeconfig: %w", err)
	}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return false, err
	}
	nodes, err := kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, fmt.Errorf("the API does not answer: %w", err)
	}
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "NODE\tSTATE\tPODS FROM\tSERVICES BY\tREASON")
	ready = len(nodes.Items) > 0
	for i := range nodes.Items {
		n := &nodes.Items[i]
		state, reason := nodeState(n)
		ready = ready && state == "ready"
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", n.Name, state, n.Spec.PodCIDR, n.Labels["karve.dev/service-dataplane"], reason)
	}
	return ready, w.Flush()
}

func nodeState(n *corev1.Node) (state, reason string) {
	switch c := conditions.Node(n, corev1.NodeReady); {
	case c == nil:
		return "not ready", "its agent has not reported yet"
	case c.Status == corev1.ConditionTrue:
		return "ready", ""
	default:
		return "not ready", c.Message
	}
}
