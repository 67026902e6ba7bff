package report

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/turns"
)

// callTimeout bounds one write of the Node.
const callTimeout = 10 * time.Second

// manyFailures in a row are worth a warning.
const manyFailures = 8

// Node keeps the node's own object: it makes it, and writes its status whenever that differs from what is stored.
type Node struct {
	client *client.Client
	log    *zap.Logger
	task   turns.Task

	mu     sync.Mutex
	want   *corev1.Node // labels, and the status without conditions' times
	stored *corev1.Node // nil until it is known

	introduced bool // of the turns, as failures
	failures   int  // in a row
}

// NewNode returns a keeper of the Node that want describes, which works in the group. Conditions are set by SetCondition.
func NewNode(group *turns.Group, c *client.Client, want *corev1.Node, log *zap.Logger) *Node {
	n := &Node{client: c, log: log.Named("node"), want: want}
	n.task.Init(group, turns.Retrying(firstPause, longPause, n.keep))
	return n
}

// Change changes the status that is wanted. It never blocks.
func (n *Node) Change(change func(*corev1.NodeStatus)) {
	n.mu.Lock()
	change(&n.want.Status)
	n.mu.Unlock()
	n.task.Wake()
}

// SetCondition sets a condition of the status that is wanted.
func (n *Node) SetCondition(kind corev1.NodeConditionType, status corev1.ConditionStatus, reason, message string) {
	n.Change(func(st *corev1.NodeStatus) {
		for i := range st.Conditions {
			if c := &st.Conditions[i]; c.Type == kind {
				c.Status, c.Reason, c.Message = status, reason, message
				return
			}
		}
		st.Conditions = append(st.Conditions, corev1.NodeCondition{Type: kind, Status: status, Reason: reason, Message: message})
	})
}

// Stored takes what the control plane has of the node.
func (n *Node) Stored(node *corev1.Node) {
	n.mu.Lock()
	n.stored = node
	n.mu.Unlock()
	n.task.Wake()
}

// Current returns what the control plane has of the node, or nil; it must not be changed.
func (n *Node) Current() *corev1.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stored
}

// Start keeps the Node from now on.
func (n *Node) Start() { n.task.Start() }

// keep writes what differs, and complains when that has failed for a while.
func (n *Node) keep(ctx context.Context) error {
	err := n.sync(ctx)
	if err == nil || ctx.Err() != nil {
		n.failures = 0
		return nil
	}
	if n.failures++; n.failures < manyFailures {
		n.log.Debug("not written", zap.Error(err))
	} else {
		n.log.Warn("cannot write the node's status", zap.Error(err))
	}
	return err
}

// sync writes what differs.
func (n *Node) sync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	n.mu.Lock()
	stored, want := n.stored, n.want.DeepCopy()
	n.mu.Unlock()
	if stored == nil {
		var err error
		if stored, err = n.register(ctx, want); err != nil {
			return err
		}
		n.learn(stored)
	}
	if !n.introduced {
		var err error
		if stored, err = n.introduce(ctx, stored, want); err != nil {
			return err
		}
	}
	next := stored.DeepCopy()
	next.Status = merge(&stored.Status, &want.Status, metav1.Now())
	if equality.Semantic.DeepEqual(next.Status, stored.Status) {
		return nil
	}
	err := n.client.UpdateStatus(ctx, next)
	if apierrors.IsNotFound(err) {
		n.introduced = false
		n.mu.Lock()
		n.stored = nil // somebody deleted the node: it lives, so it is made again
		n.mu.Unlock()
		return fmt.Errorf("update the node's status: %w", err)
	}
	if apierrors.IsConflict(err) {
		fresh := &corev1.Node{}
		if err := n.client.Get(ctx, fresh, "", want.Name); err != nil {
			return fmt.Errorf("read the node: %w", err)
		}
		n.learn(fresh)
	}
	if err != nil {
		return fmt.Errorf("update the node's status: %w", err)
	}
	n.learn(next)
	return nil
}

// learn takes an answer of the API, unless the stream has told something newer meanwhile.
func (n *Node) learn(node *corev1.Node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stored == nil || n.stored.UID != node.UID || !newer(n.stored.ResourceVersion, node.ResourceVersion) {
		n.stored = node
	}
}

// newer compares resource versions, which are numbers here.
func newer(a, b string) bool {
	if len(a) != len(b) {
		return len(a) > len(b)
	}
	return a > b
}

// register makes the Node, or takes the one that exists.
func (n *Node) register(ctx context.Context, want *corev1.Node) (*corev1.Node, error) {
	node := want.DeepCopy()
	node.Status = merge(&corev1.NodeStatus{}, &want.Status, metav1.Now())
	if condition(&node.Status, corev1.NodeReady) == nil {
		node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{
			Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "KubeletNotReady", Message: "the node's agent has just started",
			LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
		})
	}
	err := n.client.Create(ctx, node)
	if err == nil {
		n.log.Info("registered")
		return node, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("register the node: %w", err)
	}
	if err := n.client.Get(ctx, node, "", want.Name); err != nil {
		return nil, fmt.Errorf("read the node: %w", err)
	}
	return node, nil
}

// introduce gives the Node, once, the labels and annotations that it lacks: it may have been made by an older agent,
// or by somebody else.
func (n *Node) introduce(ctx context.Context, stored, want *corev1.Node) (*corev1.Node, error) {
	next := stored.DeepCopy()
	if next.Labels == nil {
		next.Labels = map[string]string{}
	}
	if next.Annotations == nil {
		next.Annotations = map[string]string{}
	}
	maps.Copy(next.Labels, want.Labels)
	maps.Copy(next.Annotations, want.Annotations)
	if !maps.Equal(next.Labels, stored.Labels) || !maps.Equal(next.Annotations, stored.Annotations) {
		if err := n.client.Update(ctx, next); err != nil {
			return nil, fmt.Errorf("label the node: %w", err)
		}
		n.learn(next)
	}
	n.introduced = true
	return next, nil
}

// IsReady says whether a node's Ready condition is True.
func IsReady(node *corev1.Node) bool {
	c := condition(&node.Status, corev1.NodeReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// merge returns the status to store: what the agent knows, over what others wrote. Times of conditions move only when
// the condition does, so that an unchanged status is recognised.
func merge(stored, want *corev1.NodeStatus, now metav1.Time) corev1.NodeStatus {
	out := *want.DeepCopy()
	out.VolumesAttached, out.VolumesInUse, out.Config = stored.VolumesAttached, stored.VolumesInUse, stored.Config
	out.Phase = stored.Phase
	for name, quantity := range stored.Capacity {
		if _, own := out.Capacity[name]; !own { // extended resources that somebody advertises
			out.Capacity[name] = quantity
		}
	}
	for name, quantity := range stored.Allocatable {
		if _, own := out.Allocatable[name]; !own {
			out.Allocatable[name] = quantity
		}
	}
	for i := range out.Conditions {
		c := &out.Conditions[i]
		c.LastHeartbeatTime, c.LastTransitionTime = now, now
		old := condition(stored, c.Type)
		if old == nil {
			continue
		}
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		if old.Status == c.Status && old.Reason == c.Reason && old.Message == c.Message {
			c.LastHeartbeatTime = old.LastHeartbeatTime
		}
	}
	for _, c := range stored.Conditions {
		if condition(&out, c.Type) == nil {
			out.Conditions = append(out.Conditions, c)
		}
	}
	return out
}

func condition(st *corev1.NodeStatus, kind corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range st.Conditions {
		if st.Conditions[i].Type == kind {
			return &st.Conditions[i]
		}
	}
	return nil
}
