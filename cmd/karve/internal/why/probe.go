package why

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// unready is about a container that runs and whose startup or readiness probe does not succeed.
func (o *one) unready(sort string, p *corev1.Probe) Finding {
	f := Finding{Severity: Unready}
	if p == nil {
		f.Cause = "it runs, and the node has not called it ready yet"
		return f
	}
	asks, port := asked(p, o.spec)
	f.Cause = fmt.Sprintf("it runs, and its %s probe (%s) does not succeed", strings.ToLower(sort), asks)
	running := "it has run for " + o.w.since(o.status.State.Running.StartedAt)
	e := o.unhealthy(sort)
	switch {
	case e == nil && p.InitialDelaySeconds > 0:
		f.Because = []string{running, fmt.Sprintf("the probe begins %ds after the start", p.InitialDelaySeconds)}
		return f
	case e == nil:
		f.Because = []string{running, "it has not failed yet either"}
		return f
	}
	f.Because = append(f.Because, fmt.Sprintf("%s (%s ago, %d times)", strings.TrimSpace(e.Message), duration.HumanDuration(o.w.Now.Sub(lastSeen(e))), max(1, e.Count)), running)
	if strings.Contains(e.Message, "connection refused") {
		f.Because = append(f.Because, fmt.Sprintf("nothing listens on port %d in the pod%s", port, declared(o.spec)))
		f.Do = []string{o.edit(fmt.Sprintf("correct the probe's port, or have the program listen on 0.0.0.0:%d", port))}
	}
	if sort == "Startup" && p.FailureThreshold > 0 {
		f.Because = append(f.Because, fmt.Sprintf("after %d failures in a row, %ds apart, the container is restarted", p.FailureThreshold, p.PeriodSeconds))
	}
	f.Do = append(f.Do, o.kubectl("logs %s -c %s", o.pod.Name, o.spec.Name))
	return f
}

// unhealthy returns the newest failure of a sort of probe of the container.
func (o *one) unhealthy(sort string) *corev1.Event {
	for _, e := range o.w.eventsOf(o.pod.UID) {
		path := e.InvolvedObject.FieldPath
		if e.Reason == "Unhealthy" && strings.HasPrefix(e.Message, sort) && (path == "" || strings.Contains(path, "{"+o.spec.Name+"}")) {
			return e
		}
	}
	return nil
}

// asked words what a probe does, and names the port that it asks.
func asked(p *corev1.Probe, c *corev1.Container) (what string, port int32) {
	switch {
	case p.HTTPGet != nil:
		port = number(p.HTTPGet.Port, c)
		return fmt.Sprintf("GET %s on port %d", p.HTTPGet.Path, port), port
	case p.TCPSocket != nil:
		port = number(p.TCPSocket.Port, c)
		return fmt.Sprintf("connect to port %d", port), port
	case p.GRPC != nil:
		return fmt.Sprintf("gRPC health on port %d", p.GRPC.Port), p.GRPC.Port
	case p.Exec != nil:
		return "run " + strings.Join(p.Exec.Command, " "), 0
	}
	return "none", 0
}

// number resolves a port that may be the name of one of the container's.
func number(port intstr.IntOrString, c *corev1.Container) int32 {
	if port.Type == intstr.Int {
		return port.IntVal
	}
	for _, p := range c.Ports {
		if p.Name == port.StrVal {
			return p.ContainerPort
		}
	}
	return 0
}

// declared says which ports a container names itself, for those who ask another.
func declared(c *corev1.Container) string {
	var ports []string
	for _, p := range c.Ports {
		ports = append(ports, portName(p))
	}
	if len(ports) == 0 {
		return ""
	}
	return "; the container declares " + some(ports)
}

func portName(p corev1.ContainerPort) string {
	if p.Name == "" {
		return fmt.Sprint(p.ContainerPort)
	}
	return fmt.Sprintf("%d (%s)", p.ContainerPort, p.Name)
}

// limits is the command that gives a container more memory.
func (o *one) limits() string {
	twice := "…"
	if q, ok := o.spec.Resources.Limits[corev1.ResourceMemory]; ok {
		q.Add(q)
		twice = q.String()
	}
	switch o.owner.Kind {
	case "deploy", "sts", "ds", "rs":
		return o.kubectl("set resources %s -c %s --limits=memory=%s", o.owner, o.spec.Name, twice)
	}
	return "give the container a higher limits.memory, such as " + twice
}
