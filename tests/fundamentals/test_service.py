def test_x(manager, vendors):
    import json
    r = manager.get_fundamentals("aapl")
    print(json.dumps(r, indent=1)); print(vendors.asked)
    import time
    t=time.perf_counter()
    for _ in range(10): r2 = manager.get_fundamentals("AAPL")
    print((time.perf_counter()-t)*1000,"ms"); print(vendors.asked); assert r2["_metadata"]["providers"]["fmp"]["from_cache"]
    assert 0
