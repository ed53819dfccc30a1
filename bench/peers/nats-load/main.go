// Load: NATS JetStream by its Go client. Jobs through a work queue on file storage: awaited publishes, a pull
// consumer with 1,000 buffered, each message acknowledged. Prints one line of JSON.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

type arguments struct {
	Port    int
	Callers int
	Rate    float64
	Bytes   int
	Plan    struct{ Seconds, WarmUpSeconds float64 }
}

// A backlog would be measured otherwise, as for the other peers.
const unfinishedMax = 2000

var start = time.Now()

func nowMs() float64 { return float64(time.Since(start).Nanoseconds()) / 1e6 }

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func main() {
	var args arguments
	if err := json.Unmarshal([]byte(os.Args[1]), &args); err != nil {
		panic(err)
	}
	ctx := context.Background()
	open := func() jetstream.JetStream {
		return must(jetstream.New(must(nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", args.Port)))))
	}
	producer, consumer := open(), open()
	name := fmt.Sprintf("jobs%d", args.Callers)
	must(producer.CreateStream(ctx, jetstream.StreamConfig{
		Name: name, Subjects: []string{name}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage,
	}))
	worker := must(consumer.CreateConsumer(ctx, name, jetstream.ConsumerConfig{
		Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10000,
	}))
	var sent, handled atomic.Int64
	var lock sync.Mutex
	var latencies []float64
	must(worker.Consume(func(m jetstream.Msg) {
		if args.Rate > 0 {
			at := math.Float64frombits(binary.LittleEndian.Uint64(m.Data()))
			lock.Lock()
			latencies = append(latencies, nowMs()-at)
			lock.Unlock()
		}
		if err := m.Ack(); err == nil {
			handled.Add(1)
		}
	}, jetstream.PullMaxMessages(1000)))
	send := func() {
		body := make([]byte, args.Bytes)
		binary.LittleEndian.PutUint64(body, math.Float64bits(nowMs()))
		must(producer.Publish(ctx, name, body))
	}
	for range args.Callers {
		go func() {
			for {
				if sent.Load()-handled.Load() >= unfinishedMax {
					time.Sleep(time.Millisecond)
					continue
				}
				sent.Add(1)
				send()
			}
		}()
	}
	if args.Rate > 0 {
		go func() {
			for due := 0.0; ; time.Sleep(time.Millisecond) {
				for due = nowMs() / 1000 * args.Rate; float64(sent.Load()) < due; sent.Add(1) {
					go send()
				}
			}
		}()
	}
	time.Sleep(time.Duration(args.Plan.WarmUpSeconds * float64(time.Second)))
	before, beganMs := handled.Load(), nowMs()
	time.Sleep(time.Duration(args.Plan.Seconds * float64(time.Second)))
	rate := float64(handled.Load()-before) * 1000 / (nowMs() - beganMs)
	lock.Lock()
	tail := latencies[min(len(latencies), int(args.Rate*args.Plan.WarmUpSeconds)):]
	sort.Float64s(tail)
	quantile := func(q float64) float64 {
		if len(tail) == 0 {
			return 0
		}
		return tail[min(len(tail)-1, int(float64(len(tail))*q))]
	}
	json.NewEncoder(os.Stdout).Encode(map[string]float64{
		"rate": rate, "p50": quantile(0.5), "p99": quantile(0.99), "p999": quantile(0.999),
	})
	os.Exit(0)
}
