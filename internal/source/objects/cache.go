package objects

import (
	"container/list"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
)

// Cache keeps recently read small objects of many stores in memory. Objects
// are kept per store, never shared between them: one repository's tree must
// not be able to name an object of another.
type Cache struct {
	mu      sync.Mutex
	limit   int64
	largest int64 // of an entry
	used    int64
	order   *list.List // front is the most recent
	items   map[cacheKey]*list.Element
}

// cacheKey is an object of a store by id, or the base of a delta by its place.
type cacheKey struct {
	store  *Store
	id     plumbing.Hash
	pack   *pack
	offset int64
}

type cacheItem struct {
	key    cacheKey
	object Object
}

// cacheOverhead is what an entry costs beside its data, in bytes.
const cacheOverhead = 200

// NewCache makes a cache of at most limit bytes; 0 means 32 MiB.
func NewCache(limit int64) *Cache {
	if limit <= 0 {
		limit = 32 << 20
	}
	return newCache(limit, limit/32) // a large file would push everything else out
}

func newCache(limit, largest int64) *Cache {
	return &Cache{limit: limit, largest: largest, order: list.New(), items: map[cacheKey]*list.Element{}}
}

func (c *Cache) get(key cacheKey) (Object, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.items[key]
	if !ok {
		return Object{}, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cacheItem).object, true
}

func (c *Cache) put(key cacheKey, o Object) {
	cost := int64(len(o.Data)) + cacheOverhead
	if cost > c.largest {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.items[key]; ok {
		return
	}
	c.items[key] = c.order.PushFront(&cacheItem{key, o})
	c.used += cost
	for c.used > c.limit {
		c.drop(c.order.Back())
	}
}

func (c *Cache) drop(e *list.Element) {
	item := c.order.Remove(e).(*cacheItem)
	delete(c.items, item.key)
	c.used -= int64(len(item.object.Data)) + cacheOverhead
}
