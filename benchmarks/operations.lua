-- The requests of each operation. Arguments: the operation's name, a text that makes the user names of this run unique,
-- the path of a page deep in a list, and the number of users.
local json = { ["Content-Type"] = "application/json" }
local next_request

local function same(method, path, headers, body)
  local text = wrk.format(method, path, headers, body)
  return function() return text end
end

local function in_turn(texts)
  local at = 0
  return function()
    at = at % #texts + 1
    return texts[at]
  end
end

function init(args)
  local operation, unique, deep, step = args[1], args[2], args[3], math.floor(args[4] / 1000)
  local number = 0
  if operation == "liveness" then
    next_request = same("GET", "/api/health/live")
  elseif operation == "get" then
    local texts = {}
    for id = 1, 1000 do texts[id] = wrk.format("GET", "/api/users/" .. id * step) end
    next_request = in_turn(texts)
  elseif operation == "unknown" then
    local texts = {}
    for id = 1, 1000 do texts[id] = wrk.format("GET", "/api/users/" .. (9000000000 + id)) end
    next_request = in_turn(texts)
  elseif operation == "users" then
    next_request = same("GET", "/api/users?limit=100")
  elseif operation == "posts" then
    next_request = same("GET", "/api/posts?limit=20")
  elseif operation == "deep" then
    next_request = same("GET", deep)
  elseif operation == "invalid" then
    next_request = same("POST", "/api/users", json, '{"username": "", "email": "nowhere", "age": 5}')
  elseif operation == "create" then
    next_request = function()
      number = number + 1
      local name = "c-" .. unique .. "-" .. number
      return wrk.format("POST", "/api/users", json, '{"username": "' .. name .. '", "email": "' .. name .. '@example.com"}')
    end
  elseif operation == "update" then
    next_request = function()
      number = number + 1
      local name = "u-" .. unique .. "-" .. number
      return wrk.format("PUT", "/api/users/" .. (number % 1000 + 1), json, '{"username": "' .. name .. '"}')
    end
  else
    error("unknown operation " .. operation)
  end
end

function request()
  return next_request()
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "p50": %d, "p99": %d, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
