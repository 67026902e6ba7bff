package why

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// one is a container with its status.
type one struct {
	*podCase
	spec   *corev1.Container
	status *corev1.ContainerStatus
	// init containers hold the others up; those that are no sidecars are not probed.
	init, sidecar bool
}

// waiting says what a container waits for, by the reason in its status.
var waiting = map[string]func(o *one, message string) Finding{
	"ErrImagePull":               (*one).image,
	"ImagePullBackOff":           (*one).image,
	"ErrImageNeverPull":          (*one).image,
	"InvalidImageName":           (*one).image,
	"CreateContainerConfigError": (*one).config,
	"CreateContainerError":       (*one).create,
	"RunContainerError":          (*one).create,
	"PostStartHookError":         (*one).crash,
	"CrashLoopBackOff":           (*one).crash,
}

// initContainers is about the first init container or sidecar that holds the pod up.
func initContainers(c *podCase) []Finding {
	for i := range c.pod.Spec.InitContainers {
		o := c.container(&c.pod.Spec.InitContainers[i], c.pod.Status.InitContainerStatuses)
		if o == nil {
			continue
		}
		o.init, o.sidecar = true, ptr(o.spec.RestartPolicy) == corev1.ContainerRestartPolicyAlways
		if f, ok := o.trouble(); ok {
			return []Finding{f}
		}
		if r := o.status.State.Running; r != nil && !o.sidecar {
			return []Finding{{
				Severity: Stuck, Cause: fmt.Sprintf("init container %s still runs; %d of %d init containers have ended", o.spec.Name, i, len(c.pod.Spec.InitContainers)),
				Because: []string{"for " + c.w.since(r.StartedAt)}, Log: o.log(false),
				Do: []string{c.kubectl("logs %s -c %s -f", c.pod.Name, o.spec.Name)},
			}}
		}
	}
	return nil
}

// containers is about each container that does not run or is not ready.
func containers(c *podCase) []Finding {
	var out []Finding
	for i := range c.pod.Spec.Containers {
		if o := c.container(&c.pod.Spec.Containers[i], c.pod.Status.ContainerStatuses); o != nil {
			if f, ok := o.trouble(); ok {
				out = append(out, f)
			}
		}
	}
	return out
}

// debugging is about containers of kubectl debug that do not start: the pod itself is well.
func debugging(c *podCase) []Finding {
	var out []Finding
	for i := range c.pod.Spec.EphemeralContainers {
		o := c.container((*corev1.Container)(&c.pod.Spec.EphemeralContainers[i].EphemeralContainerCommon), c.pod.Status.EphemeralContainerStatuses)
		if o == nil || o.status.State.Waiting == nil {
			continue
		}
		if f, ok := o.trouble(); ok {
			f.Severity, f.Cause = Note, "debug "+f.Cause
			f.Do = []string{c.kubectl("debug -it %s --image=…", c.pod.Name) + "   # with another image or --profile; one that was added stays"}
			out = append(out, f)
		}
	}
	return out
}

func (c *podCase) container(spec *corev1.Container, statuses []corev1.ContainerStatus) *one {
	for i := range statuses {
		if statuses[i].Name == spec.Name {
			return &one{podCase: c, spec: spec, status: &statuses[i]}
		}
	}
	return nil
}

func (o *one) trouble() (f Finding, ok bool) {
	s := &o.status.State
	switch {
	case s.Waiting != nil:
		say := waiting[s.Waiting.Reason]
		if say == nil {
			return f, false
		}
		f = say(o, s.Waiting.Message)
	case s.Terminated != nil:
		if s.Terminated.ExitCode == 0 {
			return f, false
		}
		f = Finding{Severity: Broken, Cause: "it " + o.ending(o.spec.Name, s.Terminated), Because: o.died(s.Terminated), Log: o.log(false)}
		f.Do = []string{o.kubectl("logs %s -c %s", o.pod.Name, o.spec.Name)}
	case s.Running != nil && o.init && !o.sidecar:
		return f, false
	case s.Running != nil && !ptr(o.status.Started):
		f = o.unready("Startup", o.spec.StartupProbe)
	case s.Running != nil && !o.status.Ready:
		f = o.unready("Readiness", o.spec.ReadinessProbe)
	default:
		return f, false
	}
	sort := "container "
	if o.init {
		sort = "init container "
	}
	f.Cause = sort + o.spec.Name + ": " + strings.TrimPrefix(f.Cause, "it ")
	return f, true
}

func (o *one) log(previous bool) *Log {
	return &Log{Namespace: o.pod.Namespace, Pod: o.pod.Name, Container: o.spec.Name, Previous: previous}
}

// create is about containers that the engine does not make or start.
func (o *one) create(message string) Finding {
	return Finding{
		Severity: Broken, Cause: "the engine does not start it: " + startError(message),
		Do: []string{o.edit("look at command, args, workingDir and volumeMounts of the container")},
	}
}

var (
	backOff  = regexp.MustCompile(`back-off (\S+) restarting`)
	execFail = regexp.MustCompile(`exec: "[^"]*": .*|exec (\S+): exec format error`)
)

// startError takes the part of the engine's error that is about the program.
func startError(message string) string {
	if m := execFail.FindString(message); m != "" {
		return strings.TrimSuffix(m, ": unknown")
	}
	return message
}

// crash is about containers that end again and again.
func (o *one) crash(message string) Finding {
	t := o.status.LastTerminationState.Terminated
	if t == nil {
		return Finding{Severity: Broken, Cause: "CrashLoopBackOff", Because: lines(message), Log: o.log(true)}
	}
	f := Finding{Severity: Broken, Cause: "CrashLoopBackOff: it " + o.ending(o.spec.Name, t), Because: o.died(t)}
	hook := o.failedHook(t)
	switch {
	case hook != "":
		f.Cause, f.Because = "CrashLoopBackOff: it is killed because its postStart hook fails", []string{hook}
	case o.killedByProbe():
		f.Cause = "CrashLoopBackOff: it is killed because its liveness probe fails"
	}
	count := fmt.Sprintf("restarted %d times", o.status.RestartCount)
	if m := backOff.FindStringSubmatch(message); m != nil {
		if wait, err := time.ParseDuration(m[1]); err == nil {
			count += fmt.Sprintf(", the next time in %s", duration.HumanDuration(max(0, t.FinishedAt.Add(wait).Sub(o.w.Now))))
		}
	}
	f.Because = append(f.Because, count)
	switch {
	case hook != "":
		f.Do = []string{o.edit("correct the container's lifecycle.postStart")}
		f.Log = o.log(true)
	case t.Reason == "OOMKilled":
		f.Do = []string{o.limits()}
		f.Log = o.log(true)
	case t.ExitCode == 128 && t.Message != "":
		f.Do = []string{o.edit("correct command and args of the container: that program is not in the image " + o.spec.Image)}
	case o.killedByProbe():
		f.Do = []string{o.edit("correct the container's livenessProbe, or give it more time (failureThreshold, startupProbe)")}
		f.Log = o.log(true)
	default:
		f.Log = o.log(true)
		f.Do = []string{o.kubectl("logs %s -c %s --previous", o.pod.Name, o.spec.Name)}
	}
	return f
}

// died is what shows how a container ended.
func (o *one) died(t *corev1.ContainerStateTerminated) []string {
	var out []string
	if t.ExitCode != 128 { // that message is in the cause
		out = lines(t.Message)
	}
	if e := o.event("Unhealthy"); o.killedByProbe() && strings.HasPrefix(e.Message, "Liveness") {
		out = append(out, strings.TrimSpace(e.Message))
	}
	return out
}

func (o *one) killedByProbe() bool {
	for _, e := range o.w.eventsOf(o.pod.UID) {
		if e.Reason == "Killing" && strings.HasPrefix(e.Message, "Container "+o.spec.Name+" failed ") {
			return o.status.State.Terminated == nil
		}
	}
	return false
}

// failedHook is what was wrong with the hook that a container was killed for; nothing when it ended otherwise.
func (o *one) failedHook(t *corev1.ContainerStateTerminated) string {
	if o.spec.Lifecycle == nil || o.spec.Lifecycle.PostStart == nil || t.ExitCode != 137 || t.Reason == "OOMKilled" {
		return ""
	}
	e := o.event("FailedPostStartHook")
	if lastSeen(&e).Before(t.StartedAt.Time) {
		return ""
	}
	return strings.TrimSpace(e.Message)
}

// signals are what exit codes above 128 mean.
var signals = map[int32]string{
	1: "SIGHUP", 2: "SIGINT, as by Ctrl-C", 4: "SIGILL, an illegal instruction: perhaps the image is for another processor", 6: "SIGABRT, it gave up itself",
	7: "SIGBUS", 8: "SIGFPE, a division by zero or the like", 9: "SIGKILL", 11: "SIGSEGV, an access to memory that it does not have", 13: "SIGPIPE", 15: "SIGTERM",
}

// ending words how a container of the pod ended.
func (c *podCase) ending(name string, t *corev1.ContainerStateTerminated) string {
	code := strconv.Itoa(int(t.ExitCode))
	switch {
	case t.Reason == "OOMKilled":
		return "was killed for using more memory than its limit " + memoryLimit(c.pod, name) + " (OOMKilled)"
	case t.ExitCode == 0:
		return "ended with exit code 0, as if its work were done"
	case t.ExitCode == 128 && t.Message != "":
		return "could not be started: " + startError(t.Message)
	case t.ExitCode == 126:
		return "ended with exit code 126: the program could not be executed (no permission?)"
	case t.ExitCode == 127:
		return "ended with exit code 127: the shell did not find the program"
	case t.ExitCode > 128 && signals[t.ExitCode-128] != "":
		return "ended with exit code " + code + ": " + signals[t.ExitCode-128]
	}
	return "ended with exit code " + code
}

func memoryLimit(pod *corev1.Pod, name string) string {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if q, ok := list[i].Resources.Limits[corev1.ResourceMemory]; ok && list[i].Name == name {
				return q.String()
			}
		}
	}
	if pod.Spec.Resources != nil {
		if q, ok := pod.Spec.Resources.Limits[corev1.ResourceMemory]; ok {
			return q.String()
		}
	}
	return "(that of the node)"
}
