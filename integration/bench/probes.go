package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// probedFor is how long the agent is watched while its pods do nothing but answer probes.
const probedFor = 30 * time.Second

// probedPods runs a node agent of its own, beside the cluster, with many pods that are probed every second, and measures
// the agent alone.
func probedPods(ctx context.Context, o options, c *running, t *table) (err error) {
	names, err := c.settings.NodeNames()
	if err != nil {
		return err
	}
	node := names[0] + "-2"
	agent, err := c.startAgent(ctx, node)
	if err != nil {
		return err
	}
	defer func() {
		stopErr := agent.Process.Signal(syscall.SIGTERM)
		_ = agent.Wait()
		err = errors.Join(err, stopErr)
	}()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := until(ctx, func() bool {
		n, err := c.kube.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		return err == nil && nodeReady(n)
	}); err != nil {
		return fmt.Errorf("node %s: %w", node, err)
	}
	before, err := read(agent.Process.Pid)
	if err != nil {
		return err
	}
	t.add("node agent alone, no pods: memory", mib(before.rss), "")
	pods := c.kube.CoreV1().Pods("default")
	for i := range o.probed {
		if _, err := pods.Create(ctx, o.probedPod(fmt.Sprintf("probed-%d", i), node), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	if err := until(ctx, func() bool {
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app=bench", FieldSelector: "spec.nodeName=" + node})
		return err == nil && ready(list.Items) >= o.probed
	}); err != nil {
		return fmt.Errorf("%d probed pods Ready: %w", o.probed, err)
	}
	if err := watchAgent(ctx, agent.Process.Pid, o.probed, t); err != nil {
		return err
	}
	if err := pods.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "app=bench"}); err != nil {
		return err
	}
	return until(ctx, func() bool {
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app=bench"})
		return err == nil && len(list.Items) == 0
	})
}

func watchAgent(ctx context.Context, pid, pods int, t *table) error {
	var samples [2]sample
	for i, wait := range []time.Duration{15 * time.Second, probedFor} {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		var err error
		if samples[i], err = read(pid); err != nil {
			return err
		}
	}
	took := samples[1].at.Sub(samples[0].at).Seconds()
	what := fmt.Sprintf("node agent alone, %d pods probed every second: ", pods)
	own, err := ownMemory(pid)
	if err != nil {
		return err
	}
	t.add(what+"memory", mib(samples[1].rss), "60 MiB")
	t.add(what+"what of it is not its program's file", mib(own), "")
	percent := func(d time.Duration) float64 { return 100 * d.Seconds() / took }
	t.add(what+"CPU", fmt.Sprintf("%.2f %% of a core", percent(samples[1].cpu-samples[0].cpu)), "3 %")
	t.add(what+"what of it is the kernel's", fmt.Sprintf("%.2f %%", percent(samples[1].kernel-samples[0].kernel)), "")
	return nil
}

// ownMemory is what a process has besides pages of files, which are its program's and shared with others that run it.
func ownMemory(pid int) (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(string(raw), "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "RssAnon:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status tells no RssAnon", pid)
}

func ready(pods []corev1.Pod) (n int) {
	for i := range pods {
		for _, c := range pods[i].Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				n++
			}
		}
	}
	return n
}

// probedPod has a readiness probe once a second, and a liveness probe as often as is usual.
func (o options) probedPod(name, node string) *corev1.Pod {
	pod := o.pod(name)
	pod.Spec.NodeName = node
	probe := &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8080)}}}
	alive := probe.DeepCopy()
	alive.PeriodSeconds = 10
	pod.Spec.Containers[0].ReadinessProbe, pod.Spec.Containers[0].LivenessProbe = probe, alive
	return pod
}

// startAgent runs a node agent as a process of its own.
func (c *running) startAgent(ctx context.Context, node string) (*exec.Cmd, error) {
	karved, out := filepath.Join(c.bin, "karved"), filepath.Join(string(c.dir), "credentials", node)
	text, err := exec.CommandContext(ctx, karved, "issue", "node:"+node, "--data-dir", string(c.dir), "--out", out).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("karved issue: %w: %s", err, strings.TrimSpace(string(text)))
	}
	settings := c.settings
	settings.Nodes = 2 // so that cleanup knows of the node, too
	if err := c.dir.Save(settings); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(string(c.dir), "agent.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	agent := exec.Command(karved, "node", "--cluster", string(c.dir), "--api", c.settings.GRPCListen, "--nodehealth", c.settings.GRPCListen,
		"--credentials", out, "--node-name", node, "--data-dir", c.dir.Node(node), "--debug-socket", filepath.Join(string(c.dir), "agent.sock"))
	agent.Stdout, agent.Stderr = log, log
	return agent, agent.Start()
}
