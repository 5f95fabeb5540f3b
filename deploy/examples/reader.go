// Prints the addresses of a service, and again after each change: go run reader.go <service> [<realm>]
//
//	go mod init reader && go get go.etcd.io/etcd/client/v3
//
// ETCDCTL_ENDPOINTS names the cluster. For TLS and users, set TLS, Username and Password of clientv3.Config.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"sort"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func main() {
	realm := "default"
	if len(os.Args) > 2 {
		realm = os.Args[2]
	}
	if len(os.Args) < 2 {
		log.Fatal("usage: reader <service> [<realm>]")
	}
	endpoints := "localhost:2379"
	if given := os.Getenv("ETCDCTL_ENDPOINTS"); given != "" {
		endpoints = given
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            strings.Split(endpoints, ","),
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    10 * time.Second, // a dead connection is noticed although nothing changes
		DialKeepAliveTimeout: 3 * time.Second,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	prefix := "/discover/service/" + os.Args[1] + "/" + realm + "/"
	for {
		// The last addresses stay while etcd is away: the containers run on.
		if err := follow(client, prefix); err != nil {
			log.Print(err)
		}
		time.Sleep(time.Second)
	}
}

// follow reads the prefix once, and watches it from the next revision until the watch ends.
func follow(client *clientv3.Client, prefix string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	reading, end := context.WithTimeout(ctx, 10*time.Second)
	defer end()
	answer, err := client.Get(reading, prefix, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	instances := map[string]string{}
	for _, kv := range answer.Kvs {
		instances[string(kv.Key)] = string(kv.Value)
	}
	show(instances)
	for changes := range client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(answer.Header.Revision+1)) {
		if err := changes.Err(); err != nil {
			return err // compacted: read again
		}
		for _, event := range changes.Events {
			if event.Type == clientv3.EventTypeDelete {
				delete(instances, string(event.Kv.Key))
			} else {
				instances[string(event.Kv.Key)] = string(event.Kv.Value)
			}
		}
		show(instances)
	}
	return nil
}

func show(instances map[string]string) {
	addresses := []string{}
	for _, url := range instances {
		_, address, _ := strings.Cut(url, "://")
		addresses = append(addresses, address)
	}
	sort.Strings(addresses)
	fmt.Println(strings.Join(addresses, " "))
}
