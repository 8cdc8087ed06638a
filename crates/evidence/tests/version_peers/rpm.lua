-- Orders pairs of versions with rpm's own rpm.vercmp.
for line in io.stdin:lines() do
    local a, b = line:match("^([^\t]*)\t(.*)$")
    local ok, order = pcall(rpm.vercmp, a, b)
    io.stdout:write(ok and ({"<", "=", ">"})[order + 2] or "!", "\n")
end
