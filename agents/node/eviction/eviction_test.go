package eviction

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/agents/node/machine"
)

const gi, mi = 1 << 30, 1 << 20

// plenty is a machine that lacks nothing.
func plenty() machine.Figures {
	disk := machine.Disk{Total: 100 * gi, Free: 50 * gi, Inodes: 1000, InodesFree: 900}
	return machine.Figures{Memory: 8 * gi, MemoryFree: 4 * gi, NodeDisk: disk, ImageDisk: disk, MaxProcesses: 1000, Processes: 100}
}

func TestWhatIsShort(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*machine.Figures)
		short  corev1.NodeConditionType
		act    []Signal
	}{
		"nothing":            {func(*machine.Figures) {}, "", nil},
		"memory":             {func(f *machine.Figures) { f.MemoryFree = 99 * mi }, corev1.NodeMemoryPressure, []Signal{MemoryAvailable}},
		"disk":               {func(f *machine.Figures) { f.NodeDisk.Free, f.ImageDisk.Free = 9*gi, 9*gi }, corev1.NodeDiskPressure, []Signal{NodeDiskAvailable}},
		"shared disk":        {func(f *machine.Figures) { f.NodeDisk.Free, f.ImageDisk.Free = 12*gi, 12*gi }, "", nil},
		"images":             {func(f *machine.Figures) { f.ImageDisk.Free, f.ImageDisk.Device = 12*gi, 2 }, corev1.NodeDiskPressure, []Signal{ImageAvailable}},
		"inodes":             {func(f *machine.Figures) { f.NodeDisk.InodesFree = 49 }, corev1.NodeDiskPressure, []Signal{NodeInodesFree}},
		"processes":          {func(f *machine.Figures) { f.Processes = 960 }, corev1.NodePIDPressure, []Signal{PIDAvailable}},
		"no inodes at all":   {func(f *machine.Figures) { f.NodeDisk.Inodes, f.NodeDisk.InodesFree = 0, 0 }, "", nil},
		"memory before disk": {func(f *machine.Figures) { f.MemoryFree, f.NodeDisk.Free = 0, 0 }, corev1.NodeMemoryPressure, []Signal{MemoryAvailable, NodeDiskAvailable}},
	} {
		t.Run(name, func(t *testing.T) {
			f := plenty()
			c.change(&f)
			v := NewJudge(Config{}).Look(&f, time.Now())
			var act []Signal
			for _, p := range v.Act {
				act = append(act, p.Signal)
			}
			require.Equal(t, c.act, act)
			if c.short != "" {
				require.True(t, v.Short[c.short])
			}
			for _, condition := range v.Conditions() {
				require.Equal(t, v.Short[condition.Type], condition.Status == corev1.ConditionTrue)
			}
		})
	}
}

func TestShortagesTakeTimeToEnd(t *testing.T) {
	cfg, err := NewConfig("memory.available<100Mi", "memory.available<1Gi", "memory.available=1m")
	require.NoError(t, err)
	cfg.MaxGrace = 20 * time.Second
	j := NewJudge(cfg)
	begin := time.Now()
	look := func(after time.Duration, free int64) Verdict {
		f := plenty()
		f.MemoryFree = free
		return j.Look(&f, begin.Add(after))
	}
	require.Empty(t, look(0, 500*mi).Act, "a soft threshold is borne for a while")
	require.True(t, look(10*time.Second, 500*mi).Short[corev1.NodeMemoryPressure], "but told")
	v := look(time.Minute, 500*mi)
	require.Len(t, v.Act, 1)
	pod := &corev1.Pod{Spec: corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(5))}}
	require.Equal(t, 5*time.Second, j.GracePeriod(v.Act[0], pod))
	v = look(61*time.Second, 50*mi)
	require.Len(t, v.Act, 2)
	require.Zero(t, j.GracePeriod(v.Act[0], pod), "hard ones first, and without mercy")
	v = look(2*time.Minute, 2*gi)
	require.Empty(t, v.Act)
	require.True(t, v.Short[corev1.NodeMemoryPressure], "a node does not call itself well at once")
	require.False(t, v.Soon)
	require.False(t, look(8*time.Minute, 2*gi).Short[corev1.NodeMemoryPressure])
	require.Empty(t, look(9*time.Minute, 500*mi).Act, "the grace period begins anew")
}

func TestParse(t *testing.T) {
	got, err := Parse(" memory.available<200Mi, nodefs.available<5%,imagefs.available<0% ")
	require.NoError(t, err)
	require.Equal(t, []Threshold{{Signal: MemoryAvailable, Amount: 200 * mi}, {Signal: NodeDiskAvailable, Share: 0.05}}, got)
	for _, bad := range []string{"memory<1Gi", "memory.available", "memory.available<x", "memory.available<101%", "memory.available<-1"} {
		_, err := Parse(bad)
		require.Error(t, err, bad)
	}
	_, err = NewConfig("", "memory.available<1Gi", "")
	require.ErrorContains(t, err, "grace")
	none, err := NewConfig("memory.available<0", "", "")
	require.NoError(t, err)
	require.NotNil(t, none.Thresholds, "no threshold is not the default ones")
	require.Empty(t, none.Thresholds)
}

func candidate(name string, priority int32, request, memory, disk int64) Candidate {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Priority: &priority, Containers: []corev1.Container{{
		Name: "app", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceMemory: *resource.NewQuantity(request, resource.BinarySI), corev1.ResourceEphemeralStorage: *resource.NewQuantity(request, resource.BinarySI),
		}},
	}}}}
	return Candidate{Pod: p, Containers: []Use{{Name: "app", Memory: memory, Layer: disk, Processes: memory / mi}}}
}

func TestWhoGoesFirst(t *testing.T) {
	frugal := candidate("frugal", 0, 100*mi, 50*mi, 0)
	greedy := candidate("greedy", 0, 100*mi, 150*mi, 300*mi)
	greedier := candidate("greedier", 0, 0, 140*mi, 0)
	valued := candidate("valued", 10, 0, 900*mi, 200*mi)
	system := candidate("system", critical, 0, 2*gi, 0)
	static := candidate("static", 0, 0, 2*gi, 0)
	static.Pod.Annotations = map[string]string{"kubernetes.io/config.source": "file"}
	writer := candidate("writer", 0, 0, 0, 0)
	writer.Volumes = gi
	all := []Candidate{frugal, system, valued, greedy, static, greedier, writer}
	names := func(list []Candidate) (out []string) {
		for _, c := range list {
			out = append(out, c.Pod.Name)
		}
		return out
	}
	require.Equal(t, []string{"greedier", "greedy", "valued", "writer", "frugal"}, names(Rank(all, MemoryAvailable, false)))
	require.Equal(t, []string{"writer", "greedy", "valued", "greedier", "frugal"}, names(Rank(all, NodeDiskAvailable, false)))
	require.Equal(t, []string{"greedy", "valued", "greedier", "writer", "frugal"}, names(Rank(all, ImageAvailable, true)), "volumes are on the other disk")
	require.Equal(t, []string{"greedy", "greedier", "frugal", "writer", "valued"}, names(Rank(all, PIDAvailable, false)))
}

func TestMessage(t *testing.T) {
	p := Passed{Threshold{Signal: MemoryAvailable, Amount: 100 * mi}, Observation{50 * mi, 8 * gi}}
	require.Equal(t, "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "+
		"Container app was using 153600Ki, request is 100Mi, has larger consumption of memory. ", Message(p, candidate("greedy", 0, 100*mi, 150*mi, 0), false))
	p = Passed{Threshold{Signal: NodeDiskAvailable, Share: 0.1}, Observation{5 * gi, 100 * gi}}
	require.Equal(t, "The node was low on resource: ephemeral-storage. Threshold quantity: 10Gi, available: 5Gi. ", Message(p, candidate("frugal", 0, 1, 0, 0), false))
}

func TestWhoHasWrittenTooMuch(t *testing.T) {
	pod := func(limit, volume string) *corev1.Pod {
		p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}, {Name: "side"}}}}
		if limit != "" {
			p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse(limit)}
		}
		if volume != "" {
			q := resource.MustParse(volume)
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &q}}}}
		}
		return p
	}
	uses := []Use{{Name: "app", Layer: 20 * mi, Logs: 5 * mi}, {Name: "side", Layer: gi}}
	for want, p := range map[string]*corev1.Pod{
		"": pod("2Gi", "1Gi"),
		`Pod ephemeral local storage usage exceeds the total limit of containers 24Mi. `: pod("24Mi", ""),
		`Usage of EmptyDir volume "v" exceeds the limit "10Mi". `:                        pod("", "10Mi"),
	} {
		require.True(t, Limited(p))
		_, message := Exceeded(Candidate{Pod: p, Containers: uses, Volumes: 11 * mi}, map[string]int64{"v": 11 * mi})
		require.Equal(t, want, message)
	}
	both := pod("24Mi", "")
	both.Spec.Containers[1].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("2Gi")}
	_, message := Exceeded(Candidate{Pod: both, Containers: uses}, nil)
	require.Equal(t, `Container app exceeded its local ephemeral storage limit "24Mi". `, message)
	both.Spec.Containers[1].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("1Gi")}
	limit, message := Exceeded(Candidate{Pod: both, Containers: uses}, nil)
	require.Equal(t, podLimit, limit)
	require.Equal(t, "Pod ephemeral local storage usage exceeds the total limit of containers 1048Mi. ", message)
	require.False(t, Limited(pod("", "")))
}

func TestReserved(t *testing.T) {
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
	}
	got := Config{}.Reserved(capacity)
	require.Len(t, got, 2)
	require.EqualValues(t, 100*mi, got.Memory().Value())
	require.EqualValues(t, 10*gi, got.StorageEphemeral().Value())
	none, err := NewConfig("memory.available<0", "", "")
	require.NoError(t, err)
	require.Empty(t, none.Reserved(capacity))
}
