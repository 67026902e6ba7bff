package events

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func event(name, reason, message string, at time.Time) *corev1.Event {
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: name, Namespace: "default"},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "web", UID: "1"},
		Type:           corev1.EventTypeNormal, Reason: reason, Message: message,
		FirstTimestamp: metav1.NewTime(at), LastTimestamp: metav1.NewTime(at), Count: 1,
	}
}

func TestRepeatsRaiseTheCountOfTheFirst(t *testing.T) {
	c := newCorrelator()
	first, verdict := c.observe(event("web.1", "BackOff", "restarting", start), start)
	require.Equal(t, create, verdict)
	c.stored(first)
	later := start.Add(time.Minute)
	again, verdict := c.observe(event("web.2", "BackOff", "restarting", later), later)
	require.Equal(t, patch, verdict)
	require.Equal(t, "web.1", again.Name)
	require.EqualValues(t, 2, again.Count)
	require.Equal(t, start, again.FirstTimestamp.UTC())
	require.Equal(t, later, again.LastTimestamp.UTC())
}

func TestAFailedCreateIsTriedAgainByTheNextRepeat(t *testing.T) {
	c := newCorrelator()
	c.observe(event("web.1", "BackOff", "restarting", start), start)
	_, verdict := c.observe(event("web.2", "BackOff", "restarting", start), start)
	require.Equal(t, create, verdict)
}

func TestManyMessagesOfOneReasonShareAnEvent(t *testing.T) {
	c := newCorrelator()
	var names []string
	for n := range 15 {
		ev, _ := c.observe(event(fmt.Sprint("web.", n), "Unhealthy", fmt.Sprint("probe failed after ", n), start), start)
		c.stored(ev)
		names = append(names, ev.Name)
		if n >= similarLimit {
			require.Equal(t, combinedPrefix+fmt.Sprint("probe failed after ", n), ev.Message)
			require.Equal(t, fmt.Sprint("web.", similarLimit), ev.Name)
			require.EqualValues(t, n-similarLimit+1, ev.Count)
		}
	}
	require.Equal(t, "web.9", names[9])
	later := start.Add(similarInterval + time.Second)
	ev, _ := c.observe(event("web.99", "Unhealthy", "something new", later), later)
	require.Equal(t, "something new", ev.Message)
}

func TestEachObjectHasABudget(t *testing.T) {
	c := newCorrelator()
	written := 0
	for n := range 100 {
		if _, verdict := c.observe(event("web.1", fmt.Sprint("Reason", n), "x", start), start); verdict != suppress {
			written++
		}
	}
	require.Equal(t, objectBurst, written)
	later := start.Add(objectRefill)
	_, verdict := c.observe(event("web.1", "Later", "x", later), later)
	require.Equal(t, create, verdict)
	_, verdict = c.observe(event("web.1", "Later", "x", later), later)
	require.Equal(t, suppress, verdict)
	warning := event("web.1", "Unhealthy", "x", later)
	warning.Type = corev1.EventTypeWarning
	_, verdict = c.observe(warning, later)
	require.Equal(t, create, verdict, "warnings and other events have budgets of their own")
	other := event("db.1", "Reason", "x", start)
	other.InvolvedObject.Name = "db"
	_, verdict = c.observe(other, start)
	require.Equal(t, create, verdict)
}
