// As much JSON as the vectors have: integers only. What is malformed ends the program.
#ifndef JSON_HPP
#define JSON_HPP

#include "check.hpp"

#include <algorithm>

namespace json {

struct value {
    enum { null, boolean, number, text, list, object } type = null;
    bool yes = false;
    std::string string; // of a number its digits
    std::vector<value> items;
    std::vector<std::string> names; // of an object's items

    bool has(std::string_view name) const { return std::find(names.begin(), names.end(), name) != names.end(); }
    const value &operator[](std::string_view name) const
    {
        if (!has(name)) check::fail("json", 0, "no field " + std::string(name));
        return items[static_cast<std::size_t>(std::find(names.begin(), names.end(), name) - names.begin())];
    }
    // Numbers that some readers would round are texts of digits.
    std::uint64_t u64() const
    {
        if ((type != number && type != text) || string.find_first_not_of("0123456789") != std::string::npos)
            check::fail("json", 0, "not a number: " + string);
        return std::strtoull(string.c_str(), nullptr, 10);
    }
    std::int64_t i64() const
    {
        if (type != number && type != text) check::fail("json", 0, "not a number: " + string);
        return std::strtoll(string.c_str(), nullptr, 10);
    }
    std::uint32_t u32() const { return static_cast<std::uint32_t>(u64()); }
    nanoseconds ns() const { return nanoseconds(i64()); }
    std::uint64_t u64_or(std::string_view name, std::uint64_t other) const { return has(name) ? (*this)[name].u64() : other; }
    // Text, or {"hex": "00ff"}.
    std::string bytes() const
    {
        if (type == text) return string;
        const std::string &hex = (*this)["hex"].string;
        std::string out;
        for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
            out.push_back(static_cast<char>(std::stoul(hex.substr(i, 2), nullptr, 16)));
        return out;
    }
};

class reader {
public:
    explicit reader(std::string_view source) : rest_(source) {}

    value all()
    {
        value v = next();
        space();
        if (!rest_.empty()) wrong();
        return v;
    }

private:
    [[noreturn]] void wrong() { check::fail("json", 0, "cannot read: " + std::string(rest_.substr(0, 40))); }
    void space()
    {
        const std::size_t n = rest_.find_first_not_of(" \t\r\n");
        rest_.remove_prefix(n == std::string_view::npos ? rest_.size() : n);
    }
    bool take(std::string_view word)
    {
        space();
        if (rest_.substr(0, word.size()) != word) return false;
        rest_.remove_prefix(word.size());
        return true;
    }
    char character()
    {
        if (rest_.empty()) wrong();
        const char c = rest_.front();
        rest_.remove_prefix(1);
        return c;
    }

    unsigned long unit()
    {
        const unsigned long code = std::stoul(std::string(rest_.substr(0, 4)), nullptr, 16);
        rest_.remove_prefix(4);
        return code;
    }

    void escaped(std::string &out)
    {
        const char c = character();
        const std::string_view from = "\"\\/bfnrt", to = "\"\\/\b\f\n\r\t";
        if (const std::size_t at = from.find(c); at != std::string_view::npos) {
            out.push_back(to[at]);
            return;
        }
        if (c != 'u') wrong();
        unsigned long code = unit();
        if (code >= 0xD800 && code < 0xDC00) {
            if (!take("\\u")) wrong();
            code = 0x10000 + ((code - 0xD800) << 10) + (unit() - 0xDC00);
        }
        const auto byte = [&](unsigned long b) { out.push_back(static_cast<char>(b)); };
        const auto tail = [&](unsigned shift) { byte(0x80 | ((code >> shift) & 0x3F)); };
        if (code < 0x80) {
            byte(code);
        } else if (code < 0x800) {
            byte(0xC0 | code >> 6), tail(0);
        } else if (code < 0x10000) {
            byte(0xE0 | code >> 12), tail(6), tail(0);
        } else {
            byte(0xF0 | code >> 18), tail(12), tail(6), tail(0);
        }
    }

    std::string quoted()
    {
        if (!take("\"")) wrong();
        std::string out;
        for (;;) {
            const char c = character();
            if (c == '"') return out;
            if (c == '\\')
                escaped(out);
            else
                out.push_back(c);
        }
    }

    value next()
    {
        value v;
        if (take("null")) return v;
        if (take("true") || take("false")) {
            v.type = value::boolean;
            v.yes = rest_.data()[-2] == 'u';
        } else if (take("[")) {
            v.type = value::list;
            if (take("]")) return v;
            do v.items.push_back(next());
            while (take(","));
            if (!take("]")) wrong();
        } else if (take("{")) {
            v.type = value::object;
            if (take("}")) return v;
            do {
                v.names.push_back(quoted());
                if (!take(":")) wrong();
                v.items.push_back(next());
            } while (take(","));
            if (!take("}")) wrong();
        } else if (!rest_.empty() && rest_.front() == '"') {
            v.type = value::text;
            v.string = quoted();
        } else {
            v.type = value::number;
            const std::size_t n = rest_.find_first_not_of("-0123456789");
            v.string = std::string(rest_.substr(0, n));
            if (v.string.empty()) wrong();
            rest_.remove_prefix(v.string.size());
        }
        return v;
    }

    std::string_view rest_;
};

inline value read(const std::string &path)
{
    const std::string text = check::file(path);
    return reader(text).all();
}

} // namespace json

#endif
