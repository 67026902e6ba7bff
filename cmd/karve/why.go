package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"karve.dev/karve/cmd/karve/internal/why"
	schedulerv1 "karve.dev/karve/gen/go/karve/scheduler/v1"
)

// whyTimeout bounds everything that why asks.
const whyTimeout = 20 * time.Second

type whyOptions struct {
	target
	namespace string
	all       bool
}

func whyCommand() *cobra.Command {
	o := &whyOptions{}
	cmd := &cobra.Command{
		Use:   "why [KIND NAME | KIND/NAME | NAME]…",
		Short: "Say what is wrong and what to do: with an object, a namespace, or everything",
		Long: `Say what is wrong with an object, what shows it, and what to do about it.

It knows pods, deployments, replicasets, statefulsets, daemonsets, jobs, cronjobs, services, persistentvolumeclaims and
nodes, by their names and short names. Of a healthy pod it says how the nodes suit it. Without an object it tells what is
wrong in the namespace, with -A everywhere, worst first.`,
		Example: `  karve why                     # what is wrong in this namespace?
  karve why -A                  # … and in all
  karve why my-app              # the pod, deployment, service, … of that name
  karve why deploy/my-app svc/my-app
  karve why -n shop pod cart-0`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args) },
	}
	o.flags(cmd)
	cmd.Flags().StringVarP(&o.namespace, "namespace", "n", "", "the namespace (default: that of the cluster's kubectl context, else \"default\")")
	cmd.Flags().BoolVarP(&o.all, "all-namespaces", "A", false, "look at all namespaces")
	return cmd
}

func (o *whyOptions) run(ctx context.Context, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, whyTimeout)
	defer cancel()
	if err := readable(o.dir()); err != nil {
		return err
	}
	conn, err := o.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	kube, context, err := o.kube()
	if err != nil {
		return err
	}
	switch {
	case o.all && len(args) > 0:
		return errors.New("give an object or -A, not both")
	case o.all:
		o.namespace = ""
	case o.namespace == "":
		o.namespace = contextNamespace(context)
	}
	world, err := gather(ctx, conn, o.namespace)
	if err != nil {
		return err
	}
	if _, err := world.About(why.Subject{Kind: "ns", Name: o.namespace}); err != nil && o.namespace != "" {
		return fmt.Errorf("there is no namespace %q", o.namespace)
	}
	a := &answer{out: os.Stdout, kube: kube, scheduler: schedulerv1.NewSchedulerServiceClient(conn), everywhere: o.all, direct: len(args) > 0}
	if len(args) == 0 {
		if a.print(ctx, world.All()) == 0 {
			fmt.Printf("nothing is wrong%s\n", inNamespace(o.namespace))
		}
		return nil
	}
	subjects, err := world.Parse(o.namespace, args)
	if err != nil {
		return err
	}
	for _, s := range subjects {
		found, err := world.About(s)
		if err != nil {
			return err
		}
		a.print(ctx, found)
	}
	return nil
}

// kube is for what only the REST API has, and names the context that kubectl knows the cluster by.
func (o *whyOptions) kube() (kube kubernetes.Interface, context string, err error) {
	file, err := clientcmd.LoadFromFile(o.dir().Kubeconfig())
	if err != nil {
		return nil, "", fmt.Errorf("read the cluster's kubeconfig: %w", err)
	}
	config, err := clientcmd.NewDefaultClientConfig(*file, nil).ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("read the cluster's kubeconfig: %w", err)
	}
	kube, err = kubernetes.NewForConfig(config)
	return kube, file.CurrentContext, err
}

// contextNamespace is what the user has told kubectl for the cluster.
func contextNamespace(context string) string {
	config, err := userConfig()
	if err == nil && config.Contexts[context] != nil && config.Contexts[context].Namespace != "" {
		return config.Contexts[context].Namespace
	}
	return corev1.NamespaceDefault
}

func inNamespace(namespace string) string {
	if namespace == "" {
		return " in any namespace"
	}
	return fmt.Sprintf(" in namespace %q", namespace)
}

// answer prints findings, and asks the cluster what they leave open.
type answer struct {
	out       io.Writer
	kube      kubernetes.Interface
	scheduler schedulerv1.SchedulerServiceClient
	// everywhere names namespaces, direct answers a question about one object.
	everywhere, direct bool
}

// print returns how many findings hold.
func (a *answer) print(ctx context.Context, found []why.Finding) (printed int) {
	for i := range found {
		f := &found[i]
		if f.Refused != "" && !refuses(ctx, f.Refused) {
			if !a.direct || len(found) > 1 {
				continue
			}
			f = &why.Finding{About: f.About, Cause: "nothing is wrong: " + f.Refused + " answers, though no container declares that port"}
		}
		if printed++; printed > 1 {
			fmt.Fprintln(a.out)
		}
		a.one(ctx, f)
	}
	return printed
}

func (a *answer) one(ctx context.Context, f *why.Finding) {
	head := f.About.String()
	if a.everywhere && f.About.Namespace != "" {
		head = f.About.Namespace + " " + head
	}
	if f.Of > 1 {
		head += fmt.Sprintf(": %d of %d pods", f.Pods, f.Of)
	}
	fmt.Fprintf(a.out, "%s: %s\n", head, f.Cause)
	for _, line := range f.Because {
		fmt.Fprintf(a.out, "    %s\n", strings.ReplaceAll(strings.TrimSpace(line), "\n", "\n    "))
	}
	if f.Log != nil {
		a.log(ctx, f.Log)
	}
	if f.Schedule != nil && (a.direct || f.Severity > why.Note) {
		a.schedule(ctx, f.Schedule, f.Severity > why.Note)
	}
	for _, line := range f.Do {
		fmt.Fprintf(a.out, "  → %s\n", line)
	}
}

// tail is how many lines of a log are shown.
const tail = 5

func (a *answer) log(ctx context.Context, l *why.Log) {
	lines := int64(tail)
	raw, err := a.kube.CoreV1().Pods(l.Namespace).GetLogs(l.Pod, &corev1.PodLogOptions{Container: l.Container, Previous: l.Previous, TailLines: &lines}).DoRaw(ctx)
	text := strings.TrimRight(string(raw), "\n")
	switch {
	case err != nil:
		fmt.Fprintf(a.out, "    its log cannot be read: %v\n", err)
	case text == "":
		fmt.Fprintln(a.out, "    its log is empty")
	default:
		fmt.Fprintln(a.out, "    its log ends:")
		for line := range strings.Lines(text) {
			fmt.Fprintf(a.out, "      | %s\n", strings.TrimRight(line, "\r\n"))
		}
	}
}

// mostNodes is about how many nodes the scheduler's word is shown.
const mostNodes = 10

func (a *answer) schedule(ctx context.Context, pod *why.Subject, waits bool) {
	answer, err := a.scheduler.Explain(ctx, &schedulerv1.ExplainRequest{Namespace: pod.Namespace, Name: pod.Name})
	if err != nil {
		return // what is known without it has been said
	}
	for i, n := range answer.GetNodes() {
		if i == mostNodes {
			fmt.Fprintf(a.out, "    … and %d more nodes\n", len(answer.GetNodes())-mostNodes)
			return
		}
		if len(n.GetReasons()) == 0 {
			fmt.Fprintf(a.out, "    %s: fits, score %d", n.GetNode(), n.GetScore())
			if waits {
				fmt.Fprint(a.out, ": it does by now, and the pod is tried again within ten seconds")
			}
			fmt.Fprintln(a.out)
		}
		for _, r := range n.GetReasons() {
			fmt.Fprintf(a.out, "    %s: %s", n.GetNode(), r.GetMessage())
			if r.GetCounterfactual() != "" {
				fmt.Fprintf(a.out, " (%s)", r.GetCounterfactual())
			}
			fmt.Fprintln(a.out)
		}
	}
}

// refuses tells whether nothing listens at an address. What cannot be reached from here is not said to refuse.
func refuses(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
